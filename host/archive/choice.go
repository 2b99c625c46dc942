package archive

import (
	"path"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/capability"
)

// Choice says, in a sentence without an end, what a rule of execute leaves to the
// agent beyond operands: code of its own, or programs of its choosing. Empty means
// that the rule itself says what runs. It knows the usual interpreters and launchers
// by their names and no others, and is for the people who accept a package: nothing
// is permitted or refused by it, for what it warns of runs in the same fence.
func Choice(c capability.Command) string {
	if len(c) == 0 {
		return ""
	}
	name, words := path.Base(strings.TrimPrefix(c[0], "pkg:")), c[1:]
	code, start := "the agent chooses the code that "+name+" runs", "the agent chooses what "+name+" starts"
	for i, w := range words[:max(0, len(words)-1)] {
		if slices.Contains(programOptions[name], w) && isOpen(words[i+1]) {
			return start
		}
	}
	switch kindOf(name) {
	case interpreter:
		return script(name, words, code)
	case filter:
		if n := firstOperand(words); n < len(words) && isOpen(words[n]) {
			return code
		}
	case launcher:
		return started(c, start)
	case reader:
		return name + " starts what the files or the input that it reads tell it to"
	}
	return ""
}

// A kind of program is what of a command line says what it runs.
type kind int

const (
	other       kind = iota
	interpreter      // the script it is named, or its standard input
	filter           // its first operand, which is code
	launcher         // the program that its operands name
	reader           // a file or its standard input
)

// kindOf tells programs by their names, of whatever version.
func kindOf(name string) kind {
	if strings.HasPrefix(name, "ld-linux") || strings.HasPrefix(name, "ld.so") {
		return launcher
	}
	switch strings.TrimRight(name, "0123456789.-") {
	case "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh",
		"python", "pypy", "perl", "ruby", "node", "nodejs", "php", "lua", "luajit", "tclsh", "guile":
		return interpreter
	case "awk", "gawk", "mawk", "nawk", "sed":
		return filter
	case "env", "nohup", "setsid", "timeout", "nice", "ionice", "chrt", "stdbuf", "time", "taskset", "flock", "script", "strace", "gdb", "watch",
		"sudo", "doas", "su", "chroot", "unshare", "nsenter", "setarch", "setpriv", "busybox", "toybox", "git", "go", "cargo", "npm", "npx", "deno", "bun":
		return launcher
	case "xargs", "parallel", "make", "gmake", "ninja", "at", "batch", "ed", "ex", "vi", "vim", "m", "dc", "sqlite", "psql":
		return reader
	}
	return other
}

// programOptions are followed by the name of a program to start.
var programOptions = map[string][]string{
	"find":  {"-exec", "-execdir", "-ok", "-okdir"},
	"tar":   {"-I", "-F", "--use-compress-program", "--to-command", "--checkpoint-action", "--info-script", "--new-volume-script", "--rsh-command"},
	"rsync": {"-e", "--rsh", "--rsync-path"},
	"sort":  {"--compress-program"},
	"ssh":   {"-o"},
}

// isOpen reports whether a word of a rule is a pattern, and not one for the
// package's own files.
func isOpen(word string) bool {
	_, literal := capability.Literal(word)
	return !literal && !strings.HasPrefix(word, "pkg:")
}

// firstOperand is the index of the first word that is no option.
func firstOperand(words []string) int {
	n := slices.IndexFunc(words, func(w string) bool { return w == "-" || !strings.HasPrefix(w, "-") })
	if n < 0 {
		return len(words)
	}
	return n
}

// script says what the words after an interpreter leave open: the code behind -c
// or -e, the script, or standard input where there is neither.
func script(name string, words []string, code string) string {
	shell := strings.HasSuffix(name, "sh")
	for i, w := range words {
		switch {
		case takesCode(w, shell || strings.HasPrefix(name, "py")) && i+1 < len(words):
			if isOpen(words[i+1]) {
				return code
			}
			return ""
		case w == "-", w == "-s" && shell:
			return code + ", on its standard input"
		case strings.HasPrefix(w, "-"):
		case strings.HasPrefix(w, "pkg:"):
			return ""
		case isOpen(w):
			return code
		default:
			return name + " runs " + w + " of the workspace, as the agent may have left it there"
		}
	}
	return code + ", on its standard input"
}

// takesCode reports whether the word after an option of an interpreter is code.
func takesCode(option string, onlyC bool) bool {
	if strings.HasPrefix(option, "--") {
		return option == "--eval" || option == "--print" || option == "--command"
	}
	letters := "ceErp"
	if onlyC {
		letters = "c"
	}
	return len(option) > 1 && option[0] == '-' && strings.Contains(letters, option[len(option)-1:])
}

// started says whether the words of a launcher leave open what it starts: one of
// them is a pattern, or the rule for the program that they name says so.
func started(c capability.Command, start string) string {
	words := c[1:]
	if verb := firstOperand(words); c[0] == "git" && verb < len(words) && !isOpen(words[verb]) {
		// Other verbs take names; these take commands.
		if !slices.Contains([]string{"bisect", "submodule", "rebase", "filter-branch", "difftool", "mergetool"}, words[verb]) {
			return ""
		}
	}
	for i, w := range words {
		switch {
		case isOpen(w):
			return start
		case kindOf(path.Base(strings.TrimPrefix(w, "pkg:"))) != other:
			return Choice(c[i+1:])
		}
	}
	return ""
}
