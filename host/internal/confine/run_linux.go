package confine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// thisProgram is the file that runs, even if another one has its name by now.
const thisProgram = "/proc/self/exe"

// envChild is set for a child that has not become the command. A program that does
// not hand over to Child runs as it always does, and would start children without
// end if it could.
const envChild = "AGENTHOST_CONFINE"

// namespaces are those the child gets, by their names in /proc/PID/ns.
var namespaces = []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"}

// everyNamespace are the flags of clone(2) for them.
const everyNamespace = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

var errNoChild = errors.New("confine: the child ended before it put up the fence: main must call confine.Child before anything else")

// user is the number a command knows itself by; it is the host's user outside.
const user = 1000

// Run runs a command in its fence and waits until it and all its descendants are
// gone. stdin may be nil for none; stdout and stderr get what the command writes,
// as it writes it and never at the same time, to the limit of output.
//
// It returns a [*MissingError] or a [*StartError] where there is a reason for the
// command not to have run that a caller can act on, a [*LostError] where it did run
// and nothing more can be said, and no result with any error.
// A command that fails, is stopped at a limit or with ctx, is a result; where
// that came before it ran it is an error, [context.Cause] of what ended it.
//
// Run may be called from several goroutines. Each keeps a thread of the operating
// system until it returns.
func Run(ctx context.Context, s Spec, stdin io.Reader, stdout, stderr io.Writer) (*Result, error) {
	s, err := s.checked()
	if err != nil {
		return nil, err
	}
	if os.Getenv(envChild) != "" {
		return nil, errNoChild
	}
	if err := s.hides(); err != nil {
		return nil, err
	}
	if s.Tier == Landlock {
		if err := s.apart(); err != nil {
			return nil, err
		}
	}
	var r *Result
	onThread(func() { r, err = s.run(ctx, stdin, stdout, stderr) })
	return r, err
}

// run is Run of a spec that was checked, on a thread of its own: host dies, tree
// dies, but the tie is to the thread that started it.
func (s Spec) run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) (*Result, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ctx, cancel := context.WithTimeoutCause(ctx, s.Limits.Time, stopped(StoppedTime))
	defer cancel()
	out := &output{limit: s.Limits.Output, full: func() { stop(stopped(StoppedOutput)) }}

	c, err := startChild(ctx, &s, stdin, &sink{out, stdout}, &sink{out, stderr})
	if err != nil {
		return nil, err
	}
	defer c.close()
	report, err := c.confine(&s)
	if err != nil {
		return nil, c.end(ctx, err)
	}
	w := watch(c.cmd.Process.Pid, &s, c.group, func(why string) { stop(stopped(why)) })
	err = c.cmd.Wait()
	seen := w.end()
	status, used, lost := c.ended()
	if lost == nil {
		lost = c.survivors()
	}
	if lost != nil {
		return nil, &LostError{lost}
	}
	var exit *exec.ExitError
	var why stopped
	switch {
	case errors.As(context.Cause(ctx), &why):
	case ctx.Err() != nil:
		why = StoppedCancelled
	case err != nil && !errors.As(err, &exit):
		return nil, &LostError{err}
	}
	r := &Result{Status: status.ExitStatus(), Stopped: string(why), Report: *report, Usage: seen}
	if status.Signaled() {
		r.Signal = int(status.Signal())
	}
	r.Usage.CPU = max(r.Usage.CPU, used)
	r.Usage.Output = out.written
	c.group.usage(&r.Usage)
	if r.Stopped == "" {
		r.Stopped = c.why(r, s.Limits)
	}
	if r.Stopped == "" {
		r.Stopped = overfull(&s, nil, false) // since the last look
	}
	return r, nil
}

// why says which limit it was that the kernel held by killing. For memory it may
// have been a descendant.
func (c *child) why(r *Result, l Limits) string {
	switch {
	case c.group.outOfMemory():
		return StoppedMemory
	case r.Signal == int(syscall.SIGKILL) && r.Usage.CPU >= l.CPU:
		return StoppedCPU
	}
	return ""
}

// stopped is the cause of a context that ended a command.
type stopped string

func (s stopped) Error() string { return "stopped: " + string(s) }

// hides checks that no system folder shows what must not be seen. What is bound
// is somebody's, and so are its neighbours.
func (s *Spec) hides() error {
	folders := map[string]bool{}
	for _, b := range s.Binds {
		folders[b.Root] = true
	}
	for _, p := range s.Hidden {
		folders[p] = true
	}
	var system []string
	for _, p := range s.System {
		real, err := filepath.EvalSymlinks(p)
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return fmt.Errorf("confine: %w", err)
		}
		system = append(system, real)
	}
	for p := range folders {
		real, err := filepath.EvalSymlinks(p)
		if err != nil {
			return fmt.Errorf("confine: %w", err)
		}
		for _, seen := range system {
			if within(real, seen) {
				return fmt.Errorf("confine: %s lies in %s, which every command sees: move it elsewhere", real, seen)
			}
		}
	}
	return nil
}

// A child is the process that becomes the command, or its supervisor.
type child struct {
	cmd    *exec.Cmd
	orders *os.File
	reply  *os.File
	pid    int // of the process that becomes the command

	group   *group
	entered bool // it is in its group

	// Of a supervisor: its life ends with the first, and what it says comes through
	// the second, last how the command ended, nil if it did not say it.
	life *os.File
	says *os.File
	last chan *ended
	mark uint64
}

// startChild starts a child, for the tier Full in new namespaces. It waits there
// for its orders.
func startChild(ctx context.Context, s *Spec, stdin io.Reader, stdout, stderr io.Writer) (_ *child, err error) {
	c := &child{group: newGroup(s.Limits)}
	cmd := exec.CommandContext(ctx, thisProgram, Command)
	cmd.Args[0] = "agenthost"
	cmd.Env = childEnv()
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	// All that write to its pipes are dead with it; this is for a pipe's other end.
	cmd.WaitDelay = 5 * time.Second
	// Until it executes itself it has this process's memory, which can be much, and not
	// a copy: so that its user cannot be mapped before.
	cmd.SysProcAttr = attributesFor(everyNamespace | unix.CLONE_VM | unix.CLONE_VFORK)
	cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = nil, nil
	defer func() {
		for _, f := range cmd.ExtraFiles {
			f.Close()
		}
		if err != nil {
			if cmd.Process != nil {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
			c.close()
		}
	}()
	// pipe returns the end that is kept. The other one is the child's, in the order of
	// their numbers.
	pipe := func(reads bool) *os.File {
		r, w, failed := os.Pipe()
		if failed != nil {
			err = fmt.Errorf("confine: %w", failed)
			return nil
		}
		if reads {
			r, w = w, r
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, r)
		return w
	}
	if c.orders = pipe(false); err != nil {
		return nil, err
	}
	if c.reply = pipe(true); err != nil {
		return nil, err
	}
	start := c.group.startIn
	if s.Tier == Landlock {
		start = func(start func() error) (bool, error) { return false, start() } // the supervisor stays outside
		cmd.Args = append(cmd.Args, argSupervise)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it must outlive the host to end the rest
		if c.life = pipe(false); err != nil {
			return nil, err
		}
		if c.says = pipe(true); err != nil {
			return nil, err
		}
		cmd.Cancel = c.life.Close
	}
	c.entered, err = start(cmd.Start)
	if err == nil && s.Tier == Full {
		err = mapUser(cmd.Process.Pid)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		for _, refusal := range []syscall.Errno{unix.EPERM, unix.EACCES, unix.EINVAL, unix.ENOSPC, unix.EUSERS, unix.ENOSYS} {
			if s.Tier == Full && errors.Is(err, refusal) {
				return nil, &MissingError{"user namespaces", err.Error(), namespaceRemedy()}
			}
		}
		return nil, fmt.Errorf("confine: %w", err)
	}
	c.cmd, c.pid = cmd, cmd.Process.Pid
	return c, nil
}

// supervised takes what a supervisor says of the process it started, and waits in
// the background for what it says last. Should that not come, it kills what is left
// of the command.
func (c *child) supervised() error {
	words := json.NewDecoder(io.LimitReader(c.says, 1<<16))
	var first ended
	switch err := words.Decode(&first); {
	case err == io.EOF:
		return errNoChild
	case err != nil:
		return fmt.Errorf("confine: what the supervisor says: %w", err)
	case first.Failed != "":
		return fmt.Errorf("confine: the supervisor: %s", first.Failed)
	}
	c.pid, c.mark, c.last = first.Pid, first.Mark, make(chan *ended, 1)
	go func() {
		var last ended
		if err := words.Decode(&last); err == nil && last.Pid == first.Pid {
			c.last <- &last
			return
		}
		for killMarked(first.Mark) > 0 {
			time.Sleep(time.Millisecond)
		}
		c.last <- nil
	}()
	return nil
}

// ended returns how the command ended, and the processor time that it and its
// descendants used which were waited for. The child must be gone.
func (c *child) ended() (syscall.WaitStatus, time.Duration, error) {
	if c.life == nil {
		state := c.cmd.ProcessState
		return state.Sys().(syscall.WaitStatus), state.UserTime() + state.SystemTime(), nil
	}
	last := <-c.last
	if last == nil {
		return 0, 0, errors.New("its supervisor was ended, and the command with it")
	}
	return last.Status, last.CPU, nil
}

// confine checks and completes what can only be done from outside, lets the child
// go on, and returns the report of what it then was in, once the program runs.
func (c *child) confine(s *Spec) (*Report, error) {
	if s.Tier == Landlock {
		if err := c.supervised(); err != nil {
			return nil, err
		}
	}
	for _, ns := range s.namespaces() {
		ours, err1 := os.Readlink("/proc/self/ns/" + ns)
		its, err2 := os.Readlink(c.proc("ns/" + ns))
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("confine: %w", err)
		}
		if ours == its {
			return nil, &MissingError{"user namespaces", "the child shares the host's " + ns + " namespace", namespaceRemedy()}
		}
	}
	o := order{Spec: *s, Mark: c.mark, Tasks: s.Limits.Processes}
	switch ordinary := os.Getuid() != 0; {
	case s.Tier == Landlock && c.group.processes != "":
		o.Tasks = 0
	case s.Tier == Landlock && !ordinary:
		return nil, &MissingError{"process limit", "no cgroup can be made, and nothing else bounds root without namespaces", lowerRemedy}
	case s.Tier == Landlock:
		// The limit is of all that the user runs; the child's threads go when it
		// becomes the command.
		o.Tasks += tasksOf(os.Getuid()) - readProcess(strconv.Itoa(c.pid)).threads
	case c.group.processes == "":
		var err error
		if o.PidMax, err = pidMax(s.Limits); err != nil {
			return nil, err
		}
	}
	// The child makes its view while the kernel moves it. It runs nothing until it is
	// told that this was done.
	orders, given := json.NewEncoder(c.orders), make(chan error, 1)
	go func() { given <- orders.Encode(o) }()
	var err error
	if !c.entered {
		err = c.group.enter(c.pid)
	}
	if failed := <-given; err == nil && failed != nil {
		err = fmt.Errorf("confine: give the child its orders: %w", failed)
	}
	if err == nil {
		err = orders.Encode(true)
	}
	c.orders.Close()
	r, said := c.listen(s)
	if said == errNoChild && err != nil {
		return nil, err // else the child says why it was not there any more
	} else if said != nil {
		return nil, said
	}
	r.Namespaces = s.namespaces()
	r.Memory = boundPolled
	if c.group.memory != "" {
		r.Memory, r.Limits.Memory = c.group.memory, c.group.memoryLimit
	}
	switch {
	case c.group.processes != "":
		r.Processes, r.Limits.Processes = c.group.processes, c.group.processLimit
	case os.Getuid() != 0:
		// The limit of a user counts only this namespace's processes, and does not
		// hold for root.
		r.Processes, r.Limits.Processes = boundRlimit, s.Limits.Processes
	}
	return r, nil
}

// listen takes what the child says until the program runs or it is clear that it
// will not.
func (c *child) listen(s *Spec) (*Report, error) {
	var report *Report
	for dec := json.NewDecoder(io.LimitReader(c.reply, 1<<20)); ; {
		var r reply
		err := dec.Decode(&r)
		switch {
		case err == io.EOF && report != nil:
			return report, nil
		case err == io.EOF:
			return nil, errNoChild
		case err != nil:
			return nil, fmt.Errorf("confine: what the child says: %w", err)
		case r.Missing != nil:
			if r.Missing.Remedy == "" {
				r.Missing.Remedy = namespaceRemedy()
			}
			return nil, r.Missing
		case r.Start != nil:
			return nil, r.Start
		case r.Errno != "":
			n, err := strconv.Atoi(r.Errno)
			if err != nil {
				return nil, fmt.Errorf("confine: what the child says: %w", err)
			}
			return nil, &StartError{s.Program, syscall.Errno(n).Error()}
		case r.Failed != "":
			return nil, errors.New(r.Failed)
		}
		report = r.Report
	}
}

// namespaces are those that a command gets.
func (s *Spec) namespaces() []string {
	if s.Tier == Landlock {
		return nil
	}
	return namespaces
}

func (c *child) proc(name string) string {
	return "/proc/" + strconv.Itoa(c.pid) + "/" + name
}

// end kills a child that will not become the command, and returns why.
func (c *child) end(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if c.life != nil {
		c.orders.Close() // who waits for them has no mark yet
		c.life.Close()   // the supervisor ends the rest
	} else {
		_ = c.cmd.Process.Kill() // it may have ended
	}
	_ = c.cmd.Wait()
	if c.last != nil {
		<-c.last
	}
	return err
}

// survivors fails if anything of a tree is left whose first process is gone.
func (c *child) survivors() error {
	left, err := c.group.left()
	if err == nil && left > 0 {
		err = fmt.Errorf("%d processes are left", left)
	}
	return err
}

func (c *child) close() {
	for _, f := range []*os.File{c.orders, c.reply, c.life, c.says} {
		if f != nil {
			f.Close()
		}
	}
	c.group.close()
}
