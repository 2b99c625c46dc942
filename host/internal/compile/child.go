package compile

import (
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
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/agenthost/agenthost/host/internal/meter"
)

// Command is the first argument of the child: the program's own executable is
// started with it, so the program must hand over to [Child] before it does
// anything else.
const Command = "__compile"

// handshake is the child's first line. A program that does not hand over to
// Child prints something else.
const handshake = "agenthost compile 1\n"

// answer is what the child says after the handshake; the metered module
// follows it when there is no reason.
type answer struct {
	Stage  string `json:"stage,omitempty"`
	Reason string `json:"reason,omitempty"`
	Size   int    `json:"size"`
}

// inChild validates, meters and compiles wasm in a child process.
func (c *Cache) inChild(ctx context.Context, wasm []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.bounds.Time, errTooLong)
	defer cancel()
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program to compile with: %w", err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, exe, Command,
		filepath.Join(c.dir, nativeDir), strconv.FormatInt(c.bounds.Memory, 10), strconv.Itoa(seconds(c.bounds.Time)))
	cmd.Stdin = bytes.NewReader(wasm)
	cmd.Stdout = &capped{buf: &stdout, left: 64 + 4*len(wasm) + 1<<20}
	cmd.Stderr = &capped{buf: &stderr, left: 64 << 10}
	cmd.Env = []string{}
	cmd.WaitDelay = time.Second
	err = runChild(cmd)
	if context.Cause(ctx) == errTooLong || (err != nil && ctx.Err() == nil && strings.Contains(err.Error(), "CPU time limit")) {
		return nil, &ModuleError{"bounds", fmt.Sprintf("compiling it takes longer than %s", c.bounds.Time)}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	rest, ok := bytes.CutPrefix(stdout.Bytes(), []byte(handshake))
	if !ok {
		return nil, fmt.Errorf("compile in a child: %s did not answer as a compiler (its main must call host.Helper first): %w", filepath.Base(exe), errors.Join(err, lastLine(stderr.String())))
	}
	line, module, whole := bytes.Cut(rest, []byte{'\n'})
	var a answer
	if !whole || json.Unmarshal(line, &a) != nil || (a.Reason == "" && len(module) != a.Size) {
		return nil, &ModuleError{"bounds", fmt.Sprintf("the compiler ended while it worked on it, out of memory (%d MiB) or by a fault of the module", c.bounds.Memory>>20)}
	}
	if a.Reason != "" {
		return nil, &ModuleError{a.Stage, a.Reason}
	}
	return bytes.Clone(module), nil
}

var errTooLong = errors.New("compiling takes too long")

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

func lastLine(s string) error {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if lines[0] == "" {
		return nil
	}
	return errors.New(lines[len(lines)-1])
}

// capped drops what a child writes beyond what it may.
type capped struct {
	buf  *bytes.Buffer
	left int
}

func (w *capped) Write(p []byte) (int, error) {
	keep := min(len(p), w.left)
	w.buf.Write(p[:keep])
	w.left -= keep
	return len(p), nil
}

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
	metered, fault := prepare(args[0], stdin)
	a := answer{Size: len(metered)}
	if fault != nil {
		a = answer{Stage: fault.Stage, Reason: fault.Reason}
	}
	line, err := json.Marshal(a)
	if err != nil {
		return 1
	}
	if _, err := stdout.Write(append(line, '\n')); err != nil {
		return 1
	}
	if _, err := stdout.Write(metered); err != nil {
		return 1
	}
	return 0
}

// prepare validates a module as it is, meters it, and compiles the result into
// the cache of native code, which validates it again. A module that is invalid
// because it names a global that does not exist would become valid once the
// meter's global is appended: hence the order.
func prepare(nativeDir string, stdin io.Reader) ([]byte, *ModuleError) {
	ctx := context.Background()
	wasm, err := io.ReadAll(stdin)
	if err != nil {
		return nil, &ModuleError{"validate", err.Error()}
	}
	checker := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(Features).WithDebugInfoEnabled(false))
	if _, err := checker.CompileModule(ctx, wasm); err != nil {
		return nil, &ModuleError{"validate", "it is not valid: " + err.Error()}
	}
	checker.Close(ctx)
	metered, _, err := meter.Inject(wasm, meter.Config{})
	if err != nil {
		return nil, &ModuleError{"meter", err.Error()}
	}
	native, err := wazero.NewCompilationCacheWithDir(nativeDir)
	if err != nil {
		return nil, &ModuleError{"compile", err.Error()}
	}
	compiler := wazero.NewRuntimeWithConfig(ctx, Runtime().WithCompilationCache(native))
	if _, err := compiler.CompileModule(ctx, metered); err != nil {
		return nil, &ModuleError{"compile", "it does not compile: " + err.Error()}
	}
	return metered, nil
}
