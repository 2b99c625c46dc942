package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/record"
)

// started says what was started, behind which fence, and what it could see. The
// words are those of the op that granted it: its own are a blob.
func (t *timeline) started(b record.ExecStart) string {
	text := t.words + ": " + content(b.Program.Path, b.Program.SHA256, b.Program.Size)
	if i := b.Interpreter; i != nil {
		text += ", run by " + content(i.Path, i.SHA256, i.Size)
	}
	if b.Dir != "." {
		text += ", in " + b.Dir
	}
	if b.Stdin.Size > 0 {
		text += ", stdin " + bytesText(b.Stdin.Size)
	}
	return fmt.Sprintf("%s; fence %s, sees %s, %s", text, b.Fence.Tier, count(int(b.View.Files), "file"), bytesText(b.View.Bytes))
}

// startedNames are the programs that were started.
func startedNames(b record.ExecStart) []string {
	names := []string{b.Program.Path}
	if b.Interpreter != nil {
		names = append(names, b.Interpreter.Path)
	}
	return names
}

// exit is how a command ended: its status, or what kept it from having one.
func exit(b record.ExecEnd) string {
	switch {
	case b.Failed != "":
		return "never ran"
	case b.Killed != "":
		return "killed"
	case b.Signal != 0:
		return "signal"
	}
	return fmt.Sprint(b.Exit)
}

// outcome says what came of a command.
func outcome(b record.ExecEnd) string {
	if b.Failed != "" {
		return fmt.Sprintf("of entry %d: %s", b.Of, b.Failed)
	}
	words := []string{fmt.Sprintf("of entry %d", b.Of)}
	if b.Killed != "" {
		words[0] += ": " + b.Killed
	}
	if b.Signal != 0 {
		words = append(words, fmt.Sprintf("signal %d", b.Signal))
	}
	switch {
	case b.StdoutTo != "":
		words = append(words, "stdout in "+b.StdoutTo)
	case b.Stdout != nil:
		words = append(words, "stdout "+bytesText(b.Stdout.Size))
	}
	if b.Stderr != nil && b.Stderr.Size > 0 {
		words = append(words, "stderr "+bytesText(b.Stderr.Size))
	}
	if b.Truncated {
		words = append(words, "cut")
	}
	if u := b.Usage; u != nil {
		words = append(words, fmt.Sprintf("%.3fs", time.Duration(u.WallNS).Seconds()),
			fmt.Sprintf("processor %.3fs", time.Duration(u.CPUNS).Seconds()))
		if u.Memory > 0 { // it was over before anybody looked
			words = append(words, "memory "+bytesText(u.Memory))
		}
	}
	return strings.Join(words, ", ")
}
