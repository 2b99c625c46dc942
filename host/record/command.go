package record

import (
	"slices"

	"github.com/agenthost/agenthost/ledger"
)

// Tiers of the fence, and what a turn has that ran no command.
const (
	FenceFull     = "full"
	FenceLandlock = "landlock" // without namespaces
	FenceNone     = "none"
)

// tiers are those a command can run in, the weakest first.
var tiers = []string{FenceLandlock, FenceFull}

// WeakerFence returns the weaker of two tiers. [FenceNone] is no fence, and no
// command that one would have held: the other counts.
func WeakerFence(a, b string) string {
	if a == FenceNone || b != FenceNone && slices.Index(tiers, b) < slices.Index(tiers, a) {
		return b
	}
	return a
}

// Content is bytes that are not kept, as a digest and a size.
type Content struct {
	SHA256 ledger.Hash `json:"sha256"`
	Size   int64       `json:"size"`
}

func (c Content) appendMembers(m *ledger.Members) {
	m.Hash("sha256", c.SHA256)
	m.Int("size", c.Size)
}

// A Fence is what the operating system held a command in, as it was read back
// from the kernel. In exec.start it is that of the canary, which ran first, with
// the limits the command is to have; in exec.end it is the command's own.
type Fence struct {
	Tier            string        `json:"tier"`
	Kernel          string        `json:"kernel"`
	Landlock        int64         `json:"landlock"` // version of its interface
	Namespaces      []string      `json:"namespaces"`
	Mounts          int64         `json:"mounts"`
	NoNewPrivileges int64         `json:"no_new_privileges"`
	Seccomp         int64         `json:"seccomp"`
	Capabilities    int64         `json:"capabilities"` // Linux capabilities left
	Processes       string        `json:"processes"`    // what bounds them
	Memory          string        `json:"memory"`       // what bounds it
	Limits          CommandLimits `json:"limits"`
}

func (f Fence) appendMembers(m *ledger.Members) {
	m.Word("tier", f.Tier)
	m.Word("kernel", f.Kernel)
	m.Int("landlock", f.Landlock)
	words(m, "namespaces", f.Namespaces)
	m.Int("mounts", f.Mounts)
	m.Int("no_new_privileges", f.NoNewPrivileges)
	m.Int("seccomp", f.Seccomp)
	m.Int("capabilities", f.Capabilities)
	m.Word("processes", f.Processes)
	m.Word("memory", f.Memory)
	m.Object("limits", f.Limits.appendMembers)
}

// CommandLimits bound a command with all its descendants: milliseconds, bytes,
// counts.
type CommandLimits struct {
	TimeMS    int64 `json:"time_ms"`
	CPUMS     int64 `json:"cpu_ms"`
	Memory    int64 `json:"memory"`
	Processes int64 `json:"processes"`
	OpenFiles int64 `json:"open_files"` // of each process
	FileSize  int64 `json:"file_size"`  // of the largest it can write
	Files     int64 `json:"files"`      // it may leave in /out and /tmp
	Bytes     int64 `json:"bytes"`
	Output    int64 `json:"output"`
}

func (l CommandLimits) appendMembers(m *ledger.Members) {
	m.Int("time_ms", l.TimeMS)
	m.Int("cpu_ms", l.CPUMS)
	m.Int("memory", l.Memory)
	m.Int("processes", l.Processes)
	m.Int("open_files", l.OpenFiles)
	m.Int("file_size", l.FileSize)
	m.Int("files", l.Files)
	m.Int("bytes", l.Bytes)
	m.Int("output", l.Output)
}

// View is what a command could see of the workspace and of the session's output:
// a blob that lists each file with its digest, as [AppendSeen] writes it, sorted
// by the bytes of the names, and what they come to. What of it the command read is
// not known, so no evidence calls it read.
type View struct {
	Blob
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
}

func (v View) appendMembers(m *ledger.Members) {
	v.Blob.appendMembers(m)
	m.Int("files", v.Files)
	m.Int("bytes", v.Bytes)
}

// ExecStart says that a command is about to run. It is durable before anything
// does. The op in front of it says by which right.
type ExecStart struct {
	Argv        Blob    `json:"argv"` // JSON array, as the guest passed it
	Dir         string  `json:"dir"`  // where it runs, as a ledger spells names; "." is the workspace
	Program     File    `json:"program"`
	Interpreter *File   `json:"interpreter,omitempty"` // of a program that is a script
	Stdin       Content `json:"stdin"`
	View        View    `json:"view"`
	Fence       Fence   `json:"fence"`
}

// Kind implements [ledger.Body].
func (ExecStart) Kind() string { return KindExecStart }

// AppendMembers implements [ledger.Body].
func (s ExecStart) AppendMembers(m *ledger.Members) {
	m.Object("argv", s.Argv.appendMembers)
	path(m, "dir", s.Dir)
	m.Object("program", s.Program.appendMembers)
	if s.Interpreter != nil {
		m.Object("interpreter", s.Interpreter.appendMembers)
	}
	m.Object("stdin", s.Stdin.appendMembers)
	m.Object("view", s.View.appendMembers)
	m.Object("fence", s.Fence.appendMembers)
}

// ExecEnd says what became of the command that Of started. It is also what the
// digests of files that the command made or changed are of.
type ExecEnd struct {
	Of        uint64 `json:"of"`               // seq of exec.start
	Failed    string `json:"failed,omitempty"` // why it never ran; then exit says nothing, and nothing follows
	Exit      int64  `json:"exit"`             // -1 if a signal ended it
	Signal    int64  `json:"signal,omitempty"`
	Killed    string `json:"killed,omitempty"` // the limit for which the host ended it, or "cancelled"
	Stdout    *Blob  `json:"stdout,omitempty"`
	StdoutTo  string `json:"stdout_to,omitempty"` // the file in tmp/ that has it instead
	Stderr    *Blob  `json:"stderr,omitempty"`
	Truncated bool   `json:"truncated,omitempty"`
	Usage     *Usage `json:"usage,omitempty"`
	Fence     *Fence `json:"fence,omitempty"`
}

// Kind implements [ledger.Body].
func (ExecEnd) Kind() string { return KindExecEnd }

// AppendMembers implements [ledger.Body].
func (e ExecEnd) AppendMembers(m *ledger.Members) {
	m.Uint("of", e.Of)
	text(m, "failed", e.Failed)
	m.Int("exit", e.Exit)
	if e.Signal != 0 {
		m.Int("signal", e.Signal)
	}
	word(m, "killed", e.Killed)
	blob(m, "stdout", e.Stdout)
	name(m, "stdout_to", e.StdoutTo)
	blob(m, "stderr", e.Stderr)
	isTrue(m, "truncated", e.Truncated)
	if e.Usage != nil {
		m.Object("usage", e.Usage.appendMembers)
	}
	if e.Fence != nil {
		m.Object("fence", e.Fence.appendMembers)
	}
}

// Usage is what a command used with all its descendants: nanoseconds, bytes,
// counts.
type Usage struct {
	WallNS    int64 `json:"wall_ns"`
	CPUNS     int64 `json:"cpu_ns"`
	Memory    int64 `json:"memory"`    // most at once
	Processes int64 `json:"processes"` // most at once that were seen
	Output    int64 `json:"output"`    // written to stdout and stderr
}

func (u Usage) appendMembers(m *ledger.Members) {
	m.Int("wall_ns", u.WallNS)
	m.Int("cpu_ns", u.CPUNS)
	m.Int("memory", u.Memory)
	m.Int("processes", u.Processes)
	m.Int("output", u.Output)
}
