package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/agenthost/agenthost/ledger"
)

// start checks exec.start and the blobs that it names.
func (s *session) start(e ledger.Entry, start ExecStart) error {
	if err := start.check(); err != nil {
		return s.bad(ExecFile, e, "exec.start: %w", err)
	}
	argv, err := s.content(e, start.Argv.Blob, start.Argv.Size)
	if err != nil {
		return err
	}
	if argv != nil {
		var words []string
		if err := json.Unmarshal(argv, &words); err != nil || len(words) == 0 {
			return s.bad(ExecFile, e, "blob %v is no command: want a JSON array of words", start.Argv.Blob)
		}
	}
	list, err := s.content(e, start.View.Blob.Blob, start.View.Size)
	if err != nil {
		return err
	}
	if list != nil {
		if err := start.View.check(list); err != nil {
			return s.bad(ExecFile, e, "blob %v: %w", start.View.Blob.Blob, err)
		}
	}
	return nil
}

// ran checks exec.end and the blobs that it names.
func (s *session) ran(e ledger.Entry, end ExecEnd) error {
	if err := end.check(); err != nil {
		return s.bad(ExecFile, e, "exec.end: %w", err)
	}
	for _, b := range []*Blob{end.Stdout, end.Stderr} {
		if b != nil {
			if err := s.blob(e, b.Blob, b.Size); err != nil {
				return err
			}
		}
	}
	return nil
}

// unended says what is wrong with the end of a turn whose last command has none:
// only a crash or the host's own failure can keep it from being recorded.
func (c *commands) unended(end TurnEnd) error {
	if c.running == 0 || end.Status == StatusAborted || end.Status == StatusError && end.Code == CodeHost {
		return nil
	}
	return fmt.Errorf("turn.end: the command of seq %d has no end", c.running)
}

// check looks for what no command starts with. The tier of its fence, and what is
// in front, [Evidence] looks at.
func (s ExecStart) check() error {
	switch {
	case s.Dir == "":
		return errors.New("it has no folder")
	case s.Program.Path == "" || s.Program.SHA256.IsZero():
		return errors.New("it has no program with a digest")
	case s.Interpreter != nil && (s.Interpreter.Path == "" || s.Interpreter.SHA256.IsZero()):
		return errors.New("its interpreter has no digest")
	case s.Stdin.SHA256.IsZero():
		return errors.New("its standard input has no digest")
	case negative(s.Program.Size, s.Stdin.Size, s.View.Files, s.View.Bytes) || s.Interpreter != nil && s.Interpreter.Size < 0:
		return errors.New("a size is negative")
	}
	return s.Fence.check()
}

// check looks for what no fence is.
func (f Fence) check() error {
	l := f.Limits
	switch {
	case negative(f.Landlock, f.Mounts, f.NoNewPrivileges, f.Seccomp, f.Capabilities, l.TimeMS, l.CPUMS):
		return errors.New("a number of its fence is negative")
	case min(l.Memory, l.Processes, l.OpenFiles, l.FileSize, l.Files, l.Bytes, l.Output) < 1:
		return errors.New("a limit of its fence is not one")
	}
	return nil
}

// check looks for what no command ends with. Which command it is the end of
// [Evidence] looks at.
func (e ExecEnd) check() error {
	switch {
	case e.Failed != "":
		if e.Signal != 0 || e.Killed != "" || e.Stdout != nil || e.StdoutTo != "" || e.Stderr != nil || e.Truncated || e.Usage != nil || e.Fence != nil {
			return errors.New("it never ran, and something came of it")
		}
		return nil
	case e.Exit < -1 || e.Exit > 255 || e.Signal < 0 || e.Signal > 64:
		return fmt.Errorf("no command ends with status %d and signal %d", e.Exit, e.Signal)
	case e.Killed == "" && (e.Exit == -1) != (e.Signal != 0):
		return fmt.Errorf("no command ends by itself with status %d and signal %d", e.Exit, e.Signal)
	case e.Killed == "" && (e.Usage == nil || e.Fence == nil):
		return errors.New("it ran, and its fence or what it used is missing")
	case e.Stdout != nil && e.StdoutTo != "":
		return errors.New("its standard output is in two places")
	case e.StdoutTo != "" && (!inScratch(e.StdoutTo) || strings.HasSuffix(e.StdoutTo, "/")):
		return fmt.Errorf("its standard output is in %.100q, which is not beneath tmp/", e.StdoutTo)
	}
	if u := e.Usage; u != nil && negative(u.WallNS, u.CPUNS, u.Memory, u.Processes, u.Output) {
		return errors.New("a number of what it used is negative")
	}
	if e.Fence != nil {
		return e.Fence.check()
	}
	return nil
}

func negative(numbers ...int64) bool {
	for _, n := range numbers {
		if n < 0 {
			return true
		}
	}
	return false
}
