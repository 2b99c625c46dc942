package main

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/session"
)

// shells are the scripts that ask this program what may come next, by shell.
var (
	//go:embed completion/agenthost.bash
	bashScript string
	//go:embed completion/agenthost.zsh
	zshScript string
	//go:embed completion/agenthost.fish
	fishScript string
)

// completeCommand is what the scripts call: agenthost __complete WORD…, the last
// of which is being written. It is handled before the line is parsed, which a
// half-written one need not survive.
const completeCommand = "__complete"

func (p *program) completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print what lets a shell complete commands, flags and sessions",
		ArgsUsage: "bash|zsh|fish",
		Description: `Load it in the shell's start file:

  bash   source <(agenthost completion bash)
  zsh    source <(agenthost completion zsh)        (after compinit)
  fish   agenthost completion fish | source`,
		Action: p.completion,
	}
}

func (p *program) completion(c *cli.Context) error {
	given, err := p.operands(c, 1, 1)
	if err != nil {
		return err
	}
	script, ok := map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[given[0]]
	if !ok {
		return usageError(fmt.Sprintf("there is no completion for %q", given[0]), "one of bash, zsh, fish")
	}
	p.term.text(script)
	return nil
}

// A completion is what may stand where a word is being written.
type completion struct {
	kind  string // of what is not listed: one of the kinds below
	words [][2]string
}

// Kinds of a completion, its first line.
const (
	completeWords   = "words"   // nothing but what is listed
	completeFiles   = "files"   // names of files and folders, too
	completeFolders = "folders" // names of folders, too
)

// complete prints how the last of words can go on: the kind, then a line for each
// possible word with what it means behind a tab. It fails for nothing: where
// nothing can be said, nothing is offered.
func (p *program) complete(words []string) {
	if len(words) == 0 {
		words = []string{""}
	}
	given, word := words[:len(words)-1], words[len(words)-1]
	found := p.next(p.app(), given, word)
	p.term.text(found.kind + "\n")
	for _, w := range found.words {
		if strings.HasPrefix(w[0], word) {
			about, _, _ := strings.Cut(strings.ReplaceAll(w[1], "`", ""), "\n")
			p.term.text(w[0] + "\t" + about + "\n")
		}
	}
}

// next finds what word may become behind the words given.
func (p *program) next(app *cli.App, given []string, word string) completion {
	var l line
	for i := 0; i < len(given); i++ {
		arg := given[i]
		if arg == "--" {
			return completion{kind: completeFiles}
		}
		if len(arg) < 2 || arg[0] != '-' {
			if l.word(app, arg) != nil {
				return completion{kind: completeWords}
			}
			continue
		}
		spelled, value, hasValue := strings.Cut(arg, "=")
		flag, _ := l.lookup(app, spelled)
		if flag == nil || !takesValue(flag) {
			continue
		}
		if !hasValue {
			if i++; i == len(given) {
				return p.values(placeholder(flag))
			}
			value = given[i]
		}
		switch flag.Names()[0] {
		case "workspace":
			p.workspace = value
		case "root":
			p.root = value
		}
	}
	if spelled, _, hasValue := strings.Cut(word, "="); hasValue && strings.HasPrefix(word, "-") {
		flag, _ := l.lookup(app, spelled)
		if flag == nil || !takesValue(flag) {
			return completion{kind: completeWords}
		}
		found := p.values(placeholder(flag))
		for i := range found.words {
			found.words[i][0] = spelled + "=" + found.words[i][0]
		}
		return found
	}
	if strings.HasPrefix(word, "-") {
		return completion{kind: completeWords, words: l.flagWords(app)}
	}
	if choices := l.choices(app); len(choices) > 0 || len(l.path) == 0 {
		found := completion{kind: completeWords}
		for _, c := range choices {
			found.words = append(found.words, [2]string{c.Name, c.Usage})
		}
		return found
	}
	return p.operandWords(l.path[len(l.path)-1].ArgsUsage, len(l.operands))
}

// flagWords lists the flags that may be written.
func (l *line) flagWords(app *cli.App) [][2]string {
	flags := app.Flags
	if len(l.path) > 0 {
		flags = slices.Concat(l.path[len(l.path)-1].Flags, app.Flags)
	}
	var words [][2]string
	for _, f := range flags {
		for _, s := range spellings(f) {
			if strings.HasPrefix(s, "--") {
				words = append(words, [2]string{s, documented(f).GetUsage()})
			}
		}
	}
	return words
}

// operandWords is what the n-th operand may be, as the usage of the command
// spells them: one word each, the last of them often "…", names in capitals and
// literal words, with a bar between alternatives.
func (p *program) operandWords(usage string, n int) completion {
	usage, _, _ = strings.Cut(usage, " [--")
	words := strings.Fields(usage)
	if len(words) == 0 || n >= len(words) && !strings.HasSuffix(strings.TrimSuffix(words[len(words)-1], "]"), "…") {
		return completion{kind: completeWords}
	}
	found := completion{kind: completeWords}
	for _, w := range strings.Split(strings.Trim(words[min(n, len(words)-1)], "[]…"), "|") {
		name, _, _ := strings.Cut(w, "[")
		name, _, _ = strings.Cut(name, ":")
		if strings.ToUpper(name) != name {
			found.words = append(found.words, [2]string{name, ""})
			continue
		}
		v := p.values(name)
		found.words = append(found.words, v.words...)
		if found.kind != completeFiles && v.kind != completeWords {
			found.kind = v.kind
		}
	}
	return found
}

// values is what stands for a placeholder of a flag or an operand.
func (p *program) values(placeholder string) completion {
	found := completion{kind: completeWords}
	switch placeholder {
	case "DIR", "FOLDER":
		found.kind = completeFolders
	case "HOST":
		for _, h := range otherHosts() {
			found.words = append(found.words, [2]string{archive.KeyName(h), ""})
		}
	case "FILE", "PATH", "ARCHIVE", "PROOF", "LINE":
		found.kind = completeFiles
	case "PKG", "PKG-ID", "OLD", "NEW":
		if placeholder != "PKG-ID" {
			found.kind = completeFiles
		}
		for _, id := range p.packageIDs() {
			found.words = append(found.words, [2]string{id, ""})
		}
	case "PLANE":
		for _, plane := range session.Planes() {
			found.words = append(found.words, [2]string{plane, ""})
		}
	case "KIND":
		for _, kind := range kinds() {
			found.words = append(found.words, [2]string{kind, ""})
		}
	case "RIGHT":
		found.words = [][2]string{{"read", ""}, {"write", ""}, {"execute", ""}}
	case "FENCE":
		for _, f := range host.Fences() {
			found.words = append(found.words, [2]string{string(f), ""})
		}
	case "ID":
		for _, id := range p.packageIDs() {
			found.words = append(found.words, [2]string{id, ""})
		}
		found.words = append(found.words, p.values("SESSION").words...)
	case "SESSION":
		found.words = [][2]string{{session.Last, "the last one"}}
		root, err := p.openRoot()
		if err != nil {
			break
		}
		defer root.Close()
		names, err := root.Names()
		if err != nil {
			break
		}
		for _, id := range slices.Backward(names) {
			found.words = append(found.words, [2]string{string(id), ""})
		}
	}
	return found
}

// packageIDs are the ids of packages that are installed, none where that is not
// known.
func (p *program) packageIDs() []string {
	root, err := p.openRoot()
	if err != nil {
		return nil
	}
	defer root.Close()
	control, err := openPlane(root)
	if err != nil || control == nil {
		return nil
	}
	return control.State().Names()
}
