package compile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/agenthost/agenthost/host/internal/cache"
	"github.com/agenthost/agenthost/host/internal/meter"
)

// Command is the first argument of the child: the program's own executable is
// started with it, so the program must hand over to [Child] before it does
// anything else.
const Command = "__compile"

// handshake is the child's first line. A program that does not hand over to
// Child prints something else.
const handshake = "agenthost compile 3\n"

// envChild is set for the child. A program that does not hand over to Child runs
// as it always does, and would start children without end if it could.
const envChild = "AGENTHOST_COMPILE"

// stageHost is the stage of an answer that is not about the module.
const stageHost = "host"

var (
	errTooLong  = errors.New("compiling takes too long")
	errNoHelper = errors.New("did not answer as a compiler: its main must call host.Helper before anything else")
)

// inChild validates, meters and compiles wasm in a child process, and keeps what
// comes of it under key.
func (c *Cache) inChild(ctx context.Context, key string, wasm []byte) (*entry, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program to compile with: %w", err)
	}
	name := filepath.Base(exe)
	if os.Getenv(envChild) != "" {
		return nil, fmt.Errorf("compile in a child: %s %w", name, errNoHelper)
	}
	for _, part := range []string{modulesDir, nativeDir} {
		if _, err := cache.Sweep(filepath.Join(c.dir, part), time.Now()); err != nil {
			return nil, err
		}
	}
	made, err := os.MkdirTemp(filepath.Join(c.dir, nativeDir), cache.NewPrefix)
	if err != nil {
		return nil, fmt.Errorf("write the cache: %w", err)
	}
	defer os.RemoveAll(made)

	ctx, cancel := context.WithTimeoutCause(ctx, c.bounds.Time, errTooLong)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	stdout := &reply{left: 64<<10 + 4*len(wasm) + 1<<20, wrong: func() { stop(errNoHelper) }}
	stderr := &capped{left: 64 << 10}
	cmd := exec.CommandContext(ctx, thisProgram, Command, made,
		strconv.FormatInt(c.bounds.Memory, 10), strconv.Itoa(cpuSeconds(c.bounds.Time)))
	cmd.Args[0] = name
	cmd.Stdin = bytes.NewReader(wasm)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Env = []string{envChild + "=1"}
	cmd.WaitDelay = time.Second
	err = runChild(cmd)
	switch cause := context.Cause(ctx); {
	case cause == errTooLong && stdout.started():
		return nil, &ModuleError{StageBounds, fmt.Sprintf("compiling it takes longer than %s", c.bounds.Time)}
	case cause == errNoHelper:
		return nil, fmt.Errorf("compile in a child: %s %w", name, errNoHelper)
	case cause != nil && cause != errTooLong:
		return nil, cause
	case !stdout.started():
		return nil, fmt.Errorf("compile in a child: %s %w%s", name, errNoHelper, because(err, stderr.text()))
	}
	a, outline, err := parse(stdout.data())
	switch {
	case err != nil:
		return nil, &ModuleError{StageBounds, fmt.Sprintf("the compiler ended while it worked on it: out of memory (%d MiB), or by a fault of the module", c.bounds.Memory>>20)}
	case a.Stage == stageHost:
		return nil, fmt.Errorf("write the cache: %s", a.Reason)
	case a.Stage != "":
		return nil, &ModuleError{a.Stage, a.Reason}
	}
	if err := c.keep(key, made, a.Native, stdout.data()); err != nil {
		return nil, fmt.Errorf("write the cache: %w", err)
	}
	return &entry{a, outline}, nil
}

// cpuSeconds is how much processor time a child gets: so much that the clock on
// the wall ends it before, while its parent watches.
func cpuSeconds(d time.Duration) int {
	return int((d+time.Second-1)/time.Second) * 2 * runtime.NumCPU()
}

// because says why a program did not answer, as far as it said.
func because(err error, said string) string {
	var why []string
	if err != nil {
		why = append(why, err.Error())
	}
	if lines := strings.Split(strings.TrimSpace(said), "\n"); lines[0] != "" {
		why = append(why, lines[len(lines)-1])
	}
	if len(why) == 0 {
		return ""
	}
	return " (" + strings.Join(why, ": ") + ")"
}

// capped drops what a child writes beyond what it may.
type capped struct {
	buf  bytes.Buffer
	left int
}

func (w *capped) Write(p []byte) (int, error) {
	keep := min(len(p), w.left)
	w.buf.Write(p[:keep])
	w.left -= keep
	return len(p), nil
}

func (w *capped) text() string { return w.buf.String() }

// A reply takes what a child writes to stdout, and tells at once when that is
// not a compiler's.
type reply struct {
	buf   bytes.Buffer
	left  int
	wrong func()
}

func (w *reply) Write(p []byte) (int, error) {
	keep := min(len(p), w.left)
	w.buf.Write(p[:keep])
	w.left -= keep
	head := w.buf.Bytes()
	if !strings.HasPrefix(handshake, string(head[:min(len(head), len(handshake))])) {
		w.wrong()
	}
	return len(p), nil
}

// started reports whether a compiler answered.
func (w *reply) started() bool { return bytes.HasPrefix(w.buf.Bytes(), []byte(handshake)) }

// data is what followed the handshake.
func (w *reply) data() []byte { return w.buf.Bytes()[len(handshake):] }

// Child is the body of the child process: it takes a module on stdin and
// answers on stdout. It returns the exit status.
func Child(args []string, stdin io.Reader, stdout io.Writer) int {
	if len(args) != 3 {
		return 2
	}
	memory, err1 := strconv.ParseInt(args[1], 10, 64)
	cpu, err2 := strconv.Atoi(args[2])
	if err1 != nil || err2 != nil {
		return 2
	}
	if err := confineSelf(memory, cpu); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	io.WriteString(stdout, handshake)
	outline, a := prepare(context.Background(), args[0], stdin)
	a.Size, a.CRC32C = len(outline), checksum(outline)
	line, err := json.Marshal(a)
	if err != nil {
		return 1
	}
	if _, err := stdout.Write(append(line, '\n')); err != nil {
		return 1
	}
	if _, err := stdout.Write(outline); err != nil {
		return 1
	}
	return 0
}

// prepare validates a module as it is, meters it, and compiles the result into
// a folder, which validates it again. A module that is invalid because it names
// a global that does not exist would become valid once the meter's global is
// appended: hence the order. It returns the outline of the metered module, under
// whose name the native code is filed.
func prepare(ctx context.Context, dir string, stdin io.Reader) ([]byte, answer) {
	wasm, err := io.ReadAll(stdin)
	if err != nil {
		return nil, answer{Stage: stageHost, Reason: err.Error()}
	}
	checker := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(Features).WithDebugInfoEnabled(false))
	if _, err := checker.CompileModule(ctx, wasm); err != nil {
		return nil, answer{Stage: StageValidate, Reason: "it is not valid: " + err.Error()}
	}
	checker.Close(ctx)
	metered, _, err := meter.Inject(wasm, meter.Config{})
	if err != nil {
		return nil, answer{Stage: StageMeter, Reason: err.Error()}
	}
	outline, err := outlineOf(metered)
	if err != nil {
		return nil, answer{Stage: stageHost, Reason: err.Error()}
	}
	a := compileAs(ctx, dir, metered, outline)
	return outline, a
}

// compileAs has the engine file the native code of a module in a folder, under
// the name of its outline.
func compileAs(ctx context.Context, dir string, metered, outline []byte) answer {
	code := filepath.Join(dir, "code")
	var disk *fs.PathError
	err := compileInto(ctx, code, metered)
	if err == nil {
		err = compileInto(ctx, dir, outline)
	}
	if errors.As(err, &disk) {
		return answer{Stage: stageHost, Reason: disk.Err.Error()}
	} else if err != nil {
		return answer{Stage: StageCompile, Reason: "it does not compile: " + err.Error()}
	}
	real, err1 := onlyFile(code)
	name, err2 := onlyFile(filepath.Join(dir, filepath.Dir(real)))
	name = filepath.Join(filepath.Dir(real), name)
	if err := errors.Join(err1, err2); err != nil {
		return answer{Stage: stageHost, Reason: err.Error()}
	}
	info, err := os.Stat(filepath.Join(code, real))
	if err == nil {
		err = os.Rename(filepath.Join(code, real), filepath.Join(dir, name))
	}
	if err != nil {
		return answer{Stage: stageHost, Reason: err.Error()}
	}
	return answer{Native: name, NativeSize: info.Size()}
}

// onlyFile is the name of the one file in a folder or beneath it.
func onlyFile(dir string) (string, error) {
	names, err := filesIn(dir)
	if err == nil && len(names) != 1 {
		err = fmt.Errorf("the compiler filed %d modules of 1", len(names))
	}
	if err != nil {
		return "", err
	}
	return names[0], nil
}

// compileInto has the engine file the native code of a module in a folder.
func compileInto(ctx context.Context, dir string, wasm []byte) error {
	native, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return err
	}
	defer native.Close(ctx)
	compiler := wazero.NewRuntimeWithConfig(ctx, Runtime().WithCompilationCache(native))
	defer compiler.Close(ctx)
	_, err = compiler.CompileModule(ctx, wasm)
	return err
}
