// Package confine runs one command inside a fence made by the operating system,
// or does not run it. It knows nothing of agents, grants or ledgers: what a
// command may see and where it may write comes in as a [Spec], what was in force
// and what was used goes out as a [Result].
//
// The command sees a file system of its own, made of the machine's system folders
// and of exactly what the spec names; it has no network, no Linux capabilities, no
// other process in sight, and system calls it does not need fail. Each of these is
// read back in the process that becomes the command, before it does; what is not
// so ends it. A machine that cannot do it gets a [*MissingError], never less: the
// lesser fence for machines without namespaces, [Landlock], is only for who asks
// for it.
//
// The fence is put up by a child of this program, started from its own executable:
// main must hand over to [Child] before it does anything else.
//
// Linux on amd64 and arm64 only. Elsewhere [Run] returns a [*MissingError].
package confine

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// Command is the first argument of the child that puts up the fence.
const Command = "__confine"

// MaxBinds is the most that one view may be made of. Each costs the kernel a
// mount, and its folders memory.
const MaxBinds = 4096 + 64

// Home is an empty folder of every view that cannot be written: the place for
// HOME, so that a command finds no settings there that another wrote.
const Home = "/home"

// Tier is how much of a fence there is.
type Tier string

const (
	// Full is all of it: a view, namespaces, Landlock, seccomp. The zero Tier is Full.
	Full Tier = "full"
	// Landlock is for machines that let nobody make namespaces: Landlock and seccomp
	// alone. There is no view: wherever a Spec speaks of one, it is the machine's own
	// file system, a bind's target counts for nothing, and what is bound is at its
	// real path. Files that are not bound can be neither opened nor listed, but their
	// names, sizes and times can be asked for. /proc and /dev/shm are shut. No mode,
	// owner, time or attribute of a file can be set, whosever it is.
	Landlock Tier = "landlock"
)

// A Spec is one command and its fence. All of it is decided by the host: nothing
// in here is a name that a guest chose and nobody judged.
type Spec struct {
	// Tier is the fence it runs in, that one and no other.
	Tier Tier `json:"tier"`
	// Program is what is executed, as an absolute path of the view.
	Program string `json:"program"`
	// Device and Inode, where Inode is not 0, are those of the file that was judged.
	// If Program is another one the command does not run.
	Device uint64 `json:"device,omitempty"`
	Inode  uint64 `json:"inode,omitempty"`
	// Argv is its arguments, with its name as the first.
	Argv []string `json:"argv"`
	// Env is the whole environment, NAME=VALUE.
	Env []string `json:"env"`
	// Dir is where it starts, as an absolute path of the view.
	Dir string `json:"dir"`
	// System is what of the machine is seen at its own place, read-only and
	// executable: folders, files, links. What does not exist is left out. Nil is
	// [System].
	System []string `json:"system"`
	// Etc is what of the machine's settings is seen, read-only and not executable.
	// What does not exist is left out, and so are links. Nil is [Etc].
	Etc []string `json:"etc"`
	// Hidden are folders that must not be seen whatever System says, as absolute
	// paths; links in them are followed. Where one lies beneath a system folder the
	// command does not run.
	Hidden []string `json:"-"`
	// Binds is what else is seen. No target may be above or beneath another's, or
	// a system folder's.
	Binds []Bind `json:"binds"`
	// Limits bounds what the command and its descendants use together.
	Limits Limits `json:"limits"`
}

// A Bind puts a file or folder of the machine into the view.
type Bind struct {
	// Root is a folder, as an absolute path; links in it are followed. It must not
	// lie beneath a system folder: all of those is seen.
	Root string `json:"root"`
	// Name is what is bound, as a path relative to Root with no link in it, or "."
	// for Root itself.
	Name string `json:"name"`
	// Target is where it is seen: absolute and canonical.
	Target string `json:"target"`
	// Access is what may be done with it.
	Access Access `json:"access"`
	// Device and Inode, where Inode is not 0, are those of what was judged. Another
	// file under that name is not bound, and the command does not run.
	Device uint64 `json:"device,omitempty"`
	Inode  uint64 `json:"inode,omitempty"`
}

// Access is what may be done with what is bound. Nothing can be both written and
// executed.
type Access string

const (
	// Read is reading; of a folder, all that is beneath it.
	Read Access = "read"
	// Execute is Read, and executing it.
	Execute Access = "execute"
	// Write is reading and writing, for a folder: files and folders in it are made,
	// changed and removed, but no symbolic links, pipes, sockets or devices. Files
	// may get a second name in it, and their modes are what the command likes.
	Write Access = "write"
	// Scratch is Write, and symbolic links.
	Scratch Access = "scratch"
)

func (a Access) writes() bool { return a == Write || a == Scratch }

// Limits bounds a command with all its descendants. The zero value of a member is
// its default, stated beside it.
type Limits struct {
	// Time is how long it may take on the wall. Default one minute.
	Time time.Duration `json:"time"`
	// CPU is processor time of all processes together, as often as they are looked
	// at; a process that has used up more than a second above it the kernel ends.
	// Default one minute.
	CPU time.Duration `json:"cpu"`
	// Memory is bytes that are not backed by a file, of all processes together; and
	// private writable bytes of each. Default 512 MiB.
	Memory int64 `json:"memory"`
	// Processes counts processes and threads. Default 128.
	Processes int `json:"processes"`
	// OpenFiles is descriptors of each process. Default 256.
	OpenFiles int `json:"open_files"`
	// FileSize is bytes of the largest file it can write. Default 1 GiB.
	FileSize int64 `json:"file_size"`
	// Files and Bytes are what it may leave in the folders it can write, counted
	// together with what was in them. Defaults 10,000 and 1 GiB. What cannot be
	// counted is over Files: folders without rights, or more than 256 deep.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	// Output is bytes of stdout and stderr together. Default 16 MiB.
	Output int64 `json:"output"`
}

func (l Limits) filled() Limits {
	if l.Time <= 0 {
		l.Time = time.Minute
	}
	if l.CPU <= 0 {
		l.CPU = time.Minute
	}
	fill(&l.Memory, 512<<20)
	fill(&l.Processes, 128)
	fill(&l.OpenFiles, 256)
	fill(&l.FileSize, 1<<30)
	fill(&l.Files, 10_000)
	fill(&l.Bytes, 1<<30)
	fill(&l.Output, 16<<20)
	return l
}

func fill[N int | int64](n *N, otherwise N) {
	if *n <= 0 {
		*n = otherwise
	}
}

// Why a command was stopped.
const (
	StoppedTime      = "time"
	StoppedCPU       = "cpu"
	StoppedMemory    = "memory"
	StoppedFiles     = "files"
	StoppedBytes     = "bytes"
	StoppedOutput    = "output"
	StoppedCancelled = "cancelled"
)

// A Result is what became of a command that ran.
type Result struct {
	// Status is its exit status, -1 if a signal ended it.
	Status int
	// Signal is the number of that signal, 0 if none.
	Signal int
	// Stopped is the limit for which the host ended it, "" if it ended by itself
	// within all of them. A limit the kernel holds, like file size or processes, is
	// an error to the command and no reason here.
	Stopped string
	Usage   Usage
	Report  Report
}

// Usage is what a command used with all its descendants.
type Usage struct {
	// CPU is processor time. Of descendants nobody waited for, what was seen when
	// they were last looked at.
	CPU time.Duration `json:"cpu"`
	// Memory is the most bytes at once: by the cgroup where there is one, else as
	// often as it was looked at.
	Memory int64 `json:"memory"`
	// Processes is the most processes at once that were seen.
	Processes int `json:"processes"`
	// Output is bytes written to stdout and stderr.
	Output int64 `json:"output"`
}

// A Report is the fence that was in force. Everything in it was read back from
// the kernel, in or of the process that became the command.
type Report struct {
	Tier Tier `json:"tier"`
	// Kernel is its release.
	Kernel string `json:"kernel"`
	// Namespaces are the kinds that are not the host's.
	Namespaces []string `json:"namespaces"`
	// Mounts is how many mounts the view is made of.
	Mounts int `json:"mounts"`
	// Landlock is the version of its interface.
	Landlock int `json:"landlock"`
	// NoNewPrivileges and Seccomp are as in proc_pid_status(5): 1 and 2.
	NoNewPrivileges int `json:"no_new_privileges"`
	Seccomp         int `json:"seccomp"`
	// Capabilities are the Linux capabilities that are left, in any set; in the tier
	// Landlock without the bounding set of an ordinary user, which only root can make
	// smaller and no_new_privs makes moot.
	Capabilities uint64 `json:"capabilities"`
	// Limits are those that were in force.
	Limits Limits `json:"limits"`
	// Processes says what bounds them: "cgroup v1", "cgroup v2", "pid_max" or
	// "rlimit", the last never for a host that is root. In the tier Landlock rlimit is
	// of all that the user runs: what that was at the start comes on top.
	Processes string `json:"processes"`
	// Memory says what bounds it: "cgroup v1", "cgroup v2" or "polled".
	Memory string `json:"memory"`
}

// A MissingError says that this machine, as it is set up, cannot put up the
// fence. The command did not run.
type MissingError struct {
	// Layer is what is missing: "platform", "user namespaces", "mounts",
	// "landlock", "seccomp", "process limit".
	Layer string
	// Reason is what the kernel said.
	Reason string
	// Remedy is what to do about it, as sentences for an operator.
	Remedy string
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("confine: %s: %s", e.Layer, e.Reason)
}

// A StartError says that the fence stood, but the program did not start.
type StartError struct {
	// Program is its path in the view.
	Program string
	// Reason is what the kernel said.
	Reason string
}

func (e *StartError) Error() string {
	return fmt.Sprintf("confine: start %s: %s", e.Program, e.Reason)
}

// A LostError says that the command ran, and that it is not known how it ended.
type LostError struct{ Err error }

func (e *LostError) Error() string { return "confine: after the command: " + e.Err.Error() }

// Unwrap returns the underlying error.
func (e *LostError) Unwrap() error { return e.Err }

// System is what commands see of a machine if nobody says otherwise.
func System() []string {
	return []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"}
}

// Etc is what commands see of a machine's settings if nobody says otherwise.
func Etc() []string {
	return []string{
		"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/nsswitch.conf",
		"/etc/alternatives", "/etc/passwd", "/etc/group",
	}
}

// reserved are the places of a view that the fence makes itself.
var reserved = []string{"/dev", "/proc", "/etc", Home}

// checked returns s with its defaults filled in, or what is wrong with it.
func (s Spec) checked() (Spec, error) {
	if s.System == nil {
		s.System = System()
	}
	if s.Etc == nil {
		s.Etc = Etc()
	}
	if s.Tier == "" {
		s.Tier = Full
	}
	s.Limits = s.Limits.filled()
	switch {
	case s.Tier != Full && s.Tier != Landlock:
		return s, fmt.Errorf("confine: there is no tier %q", s.Tier)
	case len(s.Argv) == 0:
		return s, errors.New("confine: no argv")
	case len(s.Binds) > MaxBinds:
		return s, fmt.Errorf("confine: a view of %d binds: at most %d", len(s.Binds), MaxBinds)
	}
	taken := map[string]bool{}
	for _, p := range reserved {
		taken[p] = true
	}
	for _, p := range append([]string{s.Program, s.Dir}, s.System...) {
		if !canonical(p) {
			return s, fmt.Errorf("confine: %q is not an absolute path in its shortest form", p)
		}
	}
	for _, p := range s.System {
		if taken[p] {
			return s, fmt.Errorf("confine: the view has %s twice", p)
		}
		taken[p] = true
	}
	for _, p := range s.Etc {
		if !canonical(p) || !strings.HasPrefix(p, "/etc/") {
			return s, fmt.Errorf("confine: %q is not a path beneath /etc in its shortest form", p)
		}
	}
	for _, b := range s.Binds {
		switch {
		case !canonical(b.Root):
			return s, fmt.Errorf("confine: bind from %q, which is not an absolute path in its shortest form", b.Root)
		case b.Name != "." && (!canonical("/"+b.Name) || b.Name == ""):
			return s, fmt.Errorf("confine: bind %q of %s: not a relative path in its shortest form", b.Name, b.Root)
		case s.Tier == Full && (!canonical(b.Target) || b.Target == "/"):
			return s, fmt.Errorf("confine: bind to %q, which is not an absolute path beneath / in its shortest form", b.Target)
		case b.Access != Read && b.Access != Execute && !b.Access.writes():
			return s, fmt.Errorf("confine: bind to %s with access %q", b.Target, b.Access)
		case s.Tier == Full && taken[b.Target]:
			return s, fmt.Errorf("confine: the view has %s twice", b.Target)
		}
		taken[b.Target] = true
	}
	if s.Tier == Landlock {
		return s, nil
	}
	// Where one target lay beneath another, its mount point would be made in what
	// the other bound.
	for _, p := range slices.Sorted(maps.Keys(taken)) {
		for above := path.Dir(p); above != "/"; above = path.Dir(above) {
			if taken[above] {
				return s, fmt.Errorf("confine: the view has %s, which is beneath %s", p, above)
			}
		}
	}
	return s, nil
}

func canonical(p string) bool {
	return strings.HasPrefix(p, "/") && path.Clean(p) == p && !strings.ContainsRune(p, 0)
}

// within reports whether p is folder or beneath it.
func within(p, folder string) bool {
	return p == folder || folder == "/" || strings.HasPrefix(p, folder+"/")
}
