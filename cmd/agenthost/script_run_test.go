package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/session"
)

// guestFile is the key under which a script finds what builds the scripted
// agent: a func() (string, error) that returns the name of its module.
type guestFile struct{}

// buildGuest builds the scripted agent and compiles it, so that no script waits
// for more than its own turns.
func buildGuest(dir string) (string, error) {
	file := filepath.Join(dir, "script.wasm")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, "./testdata/guests/script")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the scripted agent: %w: %s", err, out)
	}
	first := exec.Command("agenthost", "run", file, "--workspace", dir, "--root", filepath.Join(dir, "root"))
	first.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(dir, "cache"), "AGENTHOST_CONFIG="+filepath.Join(dir, "config"))
	if out, err := first.CombinedOutput(); err != nil {
		return "", fmt.Errorf("run the scripted agent: %w: %s", err, out)
	}
	return file, nil
}

func scriptAgent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: agent FILE…")
	}
	file, err := ts.Value(guestFile{}).(func() (string, error))()
	ts.Check(err)
	wasm, err := os.ReadFile(file)
	ts.Check(err)
	for _, name := range args {
		ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(name)), 0o755))
		ts.Check(os.WriteFile(ts.MkAbs(name), wasm, 0o644))
	}
}

// scriptOrder gives a work order that takes nothing away, in a root that may not be
// there yet.
func scriptOrder(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: order ID PKG")
	}
	root := ts.MkAbs(session.DefaultRoot)
	folder := filepath.Join(root, "planes", "ho2", "work_orders")
	ts.Check(os.MkdirAll(folder, 0o700))
	ts.Check(os.WriteFile(filepath.Join(root, "FORMAT"), []byte(session.FormatFolder), 0o600))
	order := fmt.Sprintf("{\"schema\": %q, \"id\": %q, \"packages\": [%q]}\n", policy.WorkOrderSchema, args[0], args[1])
	ts.Check(os.WriteFile(filepath.Join(folder, args[0]+".json"), []byte(order), 0o600))
}

func scriptDigest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: digest VAR FILE")
	}
	pkg, err := archive.OpenPath(ts.MkAbs(args[1]))
	ts.Check(err)
	digits := strings.TrimPrefix(pkg.Digest.String(), "sha256:")
	ts.Setenv(args[0], digits[:12])
	ts.Setenv(args[0]+"ALL", digits)
	ts.Check(pkg.Close())
}

func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: json PATH VALUE")
	}
	var value any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &value); err != nil {
		ts.Fatalf("standard output: %v", err)
	}
	there := true
	for _, step := range strings.Split(args[0], ".") {
		switch v := value.(type) {
		case map[string]any:
			value, there = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if there = err == nil && i < len(v); there {
				value = v[i]
			}
		default:
			there = false
		}
	}
	got := "-"
	if text, ok := value.(string); there && ok {
		got = strings.ReplaceAll(text, "\n", `\n`)
	} else if there {
		b, err := json.Marshal(value)
		ts.Check(err)
		got = string(b)
	}
	if got != args[1] {
		ts.Fatalf("%s is %s, want %s", args[0], got, args[1])
	}
}

func scriptDisk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: disk DIR OPTIONS")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(mountMemory(dir, args[1]))
	ts.Defer(func() {
		if err := unmount(dir); err != nil {
			ts.Logf("unmount %s: %v", dir, err)
		}
	})
}

// scriptCondition tells whether [disk] holds: this process may mount
// filesystems; [clang]: there is one that builds agents in C; [fence]: this
// machine has what commands are fenced with; [root]: the tests run as root.
var scriptCondition = func() func(string) (bool, error) {
	mounts := sync.OnceValue(func() bool {
		dir, err := os.MkdirTemp("", "agenthost-disk-")
		if err != nil {
			return false
		}
		defer os.Remove(dir)
		return mountMemory(dir, "size=1m") == nil && unmount(dir) == nil
	})
	return func(cond string) (bool, error) {
		switch cond {
		case "disk":
			return mounts(), nil
		case "clang":
			_, err := wasiCC()
			return err == nil, nil
		case "fence":
			return fenceHere(), nil
		case "root":
			return os.Getuid() == 0, nil
		}
		return false, fmt.Errorf("unknown condition %q", cond)
	}
}()

// exitStatus is the status of a process as a shell has it.
func exitStatus(state *os.ProcessState) int {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}

// mainAt is agenthost with something to happen before a step of the commit: $AT
// is "STEP SIGNAL…" or "STEP:N SIGNAL…" for its Nth time. The process sends
// itself the signals, and waits after each until it was heard.
func mainAt() {
	if status, ok := host.Helper(os.Args, os.Stdin, os.Stdout); ok {
		os.Exit(status)
	}
	ctx, stop := interruptible(context.Background())
	at, signals, _ := strings.Cut(os.Getenv("AT"), " ")
	at, nth, counted := strings.Cut(at, ":")
	n := 1
	if counted {
		var err error
		if n, err = strconv.Atoi(nth); err != nil {
			panic(err)
		}
	}
	p := &program{stdin: os.Stdin, term: newTerminal(os.Stdout, os.Stderr, os.Getenv)}
	p.step = func(step string) {
		if strings.ReplaceAll(step, " ", "_") != at {
			return
		}
		if n--; n != 0 {
			return
		}
		for _, name := range strings.Fields(signals) {
			signal := map[string]syscall.Signal{"KILL": syscall.SIGKILL, "INT": syscall.SIGINT, "TERM": syscall.SIGTERM}[name]
			heard := ctx.Err() != nil
			self, err := os.FindProcess(os.Getpid())
			if err == nil {
				err = self.Signal(signal)
			}
			if err != nil {
				panic(err)
			}
			if heard || signal == syscall.SIGKILL {
				select {} // the signal ends the process
			}
			<-ctx.Done()
		}
	}
	status := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

// mainMeanwhile runs a command, and does something else as soon as its guest
// says that it is ready.
func mainMeanwhile() {
	cmd := exec.Command(os.Args[2], os.Args[3:]...)
	cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(125)
	}
	lines := bufio.NewReader(stderr)
	for ready := false; ; {
		line, err := lines.ReadBytes('\n')
		os.Stderr.Write(line)
		if !ready && bytes.Equal(line, []byte("guest| ready\n")) {
			ready = true
			action := exec.Command("sh", "-ec", os.Args[1])
			action.Env = append(os.Environ(), "PID="+strconv.Itoa(cmd.Process.Pid))
			action.Stderr = os.Stderr
			if err := action.Run(); err != nil {
				fmt.Fprintf(os.Stderr, "meanwhile: %v\n", err)
				cmd.Process.Kill()
			}
		}
		if err == io.EOF {
			break
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(125)
	}
	os.Exit(exitStatus(cmd.ProcessState))
}
