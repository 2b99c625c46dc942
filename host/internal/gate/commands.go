package gate

import (
	"context"
	"time"

	"github.com/agenthost/agenthost/host/internal/confine"
	"github.com/agenthost/agenthost/host/record"
)

// Commands is what a turn's commands stand on.
type Commands struct {
	Fence   func(context.Context) (*confine.Report, error) // the canary, run once per process; its tier is the one commands run in
	Path    []string                                       // folders in which bare names are looked up, from [ProgramFolders]; never the guest's
	Env     []string                                       // further variables, NAME=VALUE, from the operator
	Limits  confine.Limits                                 // ceilings of one command
	Kept    int64                                          // ceiling of the bytes of blobs that all of the turn's have kept; 0: none
	Time    time.Duration                                  // ceiling of all commands of the turn together, on the wall
	Wait    func() (resume func() time.Duration)           // stops the turn's clock while a command runs, and says how long that was
	Hidden  []string                                       // folders of the host that no command may see, as absolute paths; those that exist
	Blob    func([]byte) (record.Blob, error)
	Listing func([]byte) (record.Blob, error) // as Blob, of what a command could see; nil: Blob is
	Digests *Digests                          // of files whose identity stands; shared by the turns of a Runner
	Places  Places
}

// Places are where the folders of a turn lie, as absolute paths: what a fence
// is made of has to be named. Each is the folder of the [Config] member it is
// named after.
type Places struct {
	Workspace string
	Published string // output/SESSION; it may not exist
	Staged    string // what is staged of the workspace
	Out       string // what is staged of /out
	Tmp       string // what is staged of /tmp
	Package   string // an empty folder of the staging, for the files of the package
}

func fenceOf(r *confine.Report) record.Fence {
	return record.Fence{
		Tier: string(r.Tier), Kernel: r.Kernel, Landlock: int64(r.Landlock), Namespaces: r.Namespaces, Mounts: int64(r.Mounts),
		NoNewPrivileges: int64(r.NoNewPrivileges), Seccomp: int64(r.Seccomp), Capabilities: int64(r.Capabilities), //nolint:gosec // 64 bits of which 41 are used
		Processes: r.Processes, Memory: r.Memory, Limits: limitsOf(r.Limits),
	}
}

func limitsOf(l confine.Limits) record.CommandLimits {
	return record.CommandLimits{
		TimeMS: l.Time.Milliseconds(), CPUMS: l.CPU.Milliseconds(), Memory: l.Memory, Processes: int64(l.Processes),
		OpenFiles: int64(l.OpenFiles), FileSize: l.FileSize, Files: int64(l.Files), Bytes: l.Bytes, Output: l.Output,
	}
}
