package confine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Arguments of a child that only tries something. Without any it gets orders.
const (
	argTry    = "try"
	argCanary = "canary"
)

// trialTime is how long a trial may take. All take milliseconds.
const trialTime = 20 * time.Second

// kinds of namespaces, in the order they are tried. All others need a user
// namespace where the host is not root.
var kinds = []struct {
	name string
	flag uintptr
}{
	{"user", unix.CLONE_NEWUSER},
	{"mnt", unix.CLONE_NEWNS},
	{"pid", unix.CLONE_NEWPID},
	{"net", unix.CLONE_NEWNET},
	{"ipc", unix.CLONE_NEWIPC},
	{"uts", unix.CLONE_NEWUTS},
	{"cgroup", unix.CLONE_NEWCGROUP},
}

// Probe tries each mechanism by itself, and then the fence. It starts a child for
// each; ctx ends it early, and what was not tried does not work.
func Probe(ctx context.Context) []Mechanism {
	var all []Mechanism
	row := func(name string, err error, detail, remedy string) {
		m := Mechanism{Name: name, Works: err == nil, Detail: detail}
		if err != nil {
			m.Detail, m.Remedy = strings.TrimPrefix(err.Error(), "confine: "), remedy
			if missing := (*MissingError)(nil); errors.As(err, &missing) {
				m.Detail, m.Remedy = missing.Reason, missing.Remedy
			}
		}
		all = append(all, m)
	}
	for _, k := range kinds {
		row(k.name+" namespaces", try(ctx, unix.CLONE_NEWUSER|k.flag, "start"), "", namespaceRemedy())
	}
	row("mounts", try(ctx, everyNamespace, "mounts"), "", namespaceRemedy())
	version := ""
	if n, err := askLandlockVersion(); err == nil {
		version = fmt.Sprintf("version %d", n)
	}
	row("landlock", try(ctx, 0, "landlock"), version, landlockRemedy)
	row("seccomp", try(ctx, 0, "seccomp"), "", seccompRemedy)
	row("openat2", tryOpenat2(), "", "use Linux 5.6 or later; in a container, one whose own filter permits openat2(2)")
	var held *Report // of the best fence
	for _, f := range []struct {
		name string
		tier Tier
	}{{"fence", Full}, {"lower fence", Landlock}} {
		r, err := canaryIn(ctx, f.tier)
		remedy := "see the mechanisms that do not work"
		if errors.Is(err, errNoForbidden) {
			remedy = "set TMPDIR to a folder that this user can write to"
		}
		row(f.name, err, "", remedy)
		if held == nil {
			held = r
		}
	}
	if held == nil {
		return all
	}
	row("process limit", nil, held.Processes, "")
	row("memory limit", nil, held.Memory, "")
	return all
}

// try starts a child in new namespaces that tries one thing.
func try(ctx context.Context, flags uintptr, what string) error {
	runtime.LockOSThread() // as in Run
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, thisProgram, Command, argTry, what)
	cmd.Args[0] = "agenthost"
	cmd.Env = childEnv()
	cmd.Stderr = &said
	cmd.SysProcAttr = attributesFor(flags)
	err := cmd.Run()
	if said.Len() > 0 {
		return errors.New(strings.TrimSpace(said.String()))
	}
	return err
}

// tryMain is the body of the child that try starts.
func tryMain(what string) int {
	runtime.LockOSThread()
	if err := trial(what); err != nil {
		fmt.Fprintln(os.Stderr, strings.TrimPrefix(err.Error(), "confine: "))
		return 1
	}
	return 0
}

func trial(what string) error {
	switch what {
	case "start":
		return nil
	case "pid_max":
		return boundNamespaces(400, &Report{})
	case "mounts":
		s, err := Spec{Program: "/", Dir: "/", Argv: []string{""}}.checked()
		if err != nil {
			return err
		}
		return s.makeView(nil)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if what == "landlock" {
		version, err := landlockVersion()
		if err != nil {
			return err
		}
		attr := handled(version)
		ruleset, err := createRuleset(&attr)
		if err != nil {
			return err
		}
		if err := restrictSelf(ruleset); err != nil {
			return err
		}
		if err := tryOpen(canary, unix.O_WRONLY); !errors.Is(err, unix.EACCES) {
			return fmt.Errorf("it does not hold: opening %s: %v", canary, err)
		}
		return nil
	}
	arch, ok := architectureOf(runtime.GOARCH)
	if !ok {
		return errors.New(platformRemedy)
	}
	if err := install(arch.filter(inFull)); err != nil {
		return err
	}
	if _, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); err != unix.EPERM {
		return fmt.Errorf("it does not hold: a socket: %v", err)
	}
	return nil
}

func tryOpenat2() error {
	fd, err := unix.Openat2(unix.AT_FDCWD, ".", &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// Canary puts this program in a fence and has it try to get out: to read a file it
// was not given, to make a socket or a namespace, to write where it may not, to see
// a process. It returns the report of the best fence this machine has that is no
// less than least, or why none can be relied on; a [*MissingError] says what this
// machine lacks. A fence that stands and does not hold is an error, and no reason
// to take a lesser one.
func Canary(ctx context.Context, least Tier) (*Report, error) {
	r, err := canaryIn(ctx, Full)
	if missing := (*MissingError)(nil); least == Landlock && errors.As(err, &missing) {
		return canaryIn(ctx, Landlock)
	}
	return r, err
}

// errNoForbidden is a canary that could not be sent out. What is in its way may pass.
var errNoForbidden = errors.New("make a temporary file for the canary")

func canaryIn(ctx context.Context, tier Tier) (*Report, error) {
	own, err := findOwn()
	if err != nil {
		return nil, fmt.Errorf("confine: find this program: %w", err)
	}
	defer own.close()
	forbidden, err := os.CreateTemp("", "agenthost-canary-")
	if failed := (*os.PathError)(nil); errors.As(err, &failed) {
		return nil, fmt.Errorf("confine: %w: %w", errNoForbidden, failed.Err)
	} else if err != nil {
		return nil, fmt.Errorf("confine: %w: %w", errNoForbidden, err)
	}
	defer os.Remove(forbidden.Name())
	forbidden.Close()
	s := Spec{
		Tier:    tier,
		Program: own.path,
		Device:  own.device,
		Inode:   own.inode,
		Argv:    []string{"agenthost", Command, argCanary, string(tier), forbidden.Name()},
		Env:     []string{"GOMAXPROCS=1"},
		Dir:     "/",
		Limits:  Limits{Time: trialTime},
	}
	if !inSystem(own.path) {
		if tier == Full {
			s.Program = "/canary"
		}
		s.Binds = []Bind{{Root: filepath.Dir(own.path), Name: filepath.Base(own.path), Target: s.Program, Access: Execute}}
	}
	var said bytes.Buffer
	r, err := Run(ctx, s, nil, &said, &said)
	switch {
	case err != nil:
		return nil, err
	case r.Stopped != "":
		return nil, fmt.Errorf("confine: the canary was stopped: %s", r.Stopped)
	case r.Status != 0 || said.String() != canaryHeld:
		return nil, fmt.Errorf("confine: the fence does not hold: %s", strings.TrimSpace(said.String()))
	}
	return &r.Report, nil
}

// inSystem reports whether a path lies in a folder that every command sees.
func inSystem(p string) bool {
	for _, folder := range System() {
		if real, err := filepath.EvalSymlinks(folder); err == nil && within(p, real) {
			return true
		}
	}
	return false
}

// canaryHeld is what the canary says where everything failed that it tried.
const canaryHeld = "the fence holds\n"

// canaryMain is the canary.
func canaryMain(tier Tier, forbidden string) int {
	for what, err := range map[string]error{
		"read a file it was not given":            tryOpen(forbidden, unix.O_RDONLY),
		"make a file beside it":                   tryOpen(forbidden+".new", unix.O_WRONLY|unix.O_CREAT),
		"make a file in /":                        tryOpen("/new", unix.O_WRONLY|unix.O_CREAT),
		"write to a system folder":                tryOpen("/usr/new", unix.O_WRONLY|unix.O_CREAT),
		"set the mode of a file it was not given": os.Chmod(forbidden, 0o600),
		"make a socket": func() error {
			_, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			return err
		}(),
		"make a namespace": func() error {
			cmd := exec.Command(thisProgram)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
			return cmd.Run()
		}(),
	} {
		if err == nil {
			fmt.Println("the canary could " + what)
			return 1
		}
	}
	// In a view it sees itself; without one, nothing of /proc.
	seen := map[Tier]int{Full: 1}[tier]
	if processes, err := filepath.Glob("/proc/[0-9]*"); len(processes) != seen {
		fmt.Printf("the canary sees %d processes (%v)\n", len(processes), err)
		return 1
	}
	if parent := os.Getppid(); parent != 0 && unix.Kill(parent, 0) == nil {
		fmt.Println("the canary could signal another process")
		return 1
	}
	fmt.Print(canaryHeld)
	return 0
}
