package gate

import (
	"bytes"
	"path"
	"strings"
)

// maxShebang is the longest first line of a script, in bytes with its end, that
// the kernel reads.
const maxShebang = 256

// A shebang is the first line of a script: what it is to be run with.
type shebang struct {
	interpreter string // as an absolute path, or
	look        string // as a name to be looked up
	argument    string // the one argument that the kernel passes; may be empty
	wrong       string // why the line cannot be used
}

// argv is what the kernel puts in front of the script's path.
func (s shebang) argv() []string {
	first := s.interpreter
	if s.look != "" {
		first = s.look
	}
	if s.argument == "" {
		return []string{first}
	}
	return []string{first, s.argument}
}

// parseShebang reads the first line of a program as the kernel does
// (fs/binfmt_script.c), and what env(1) would make of it. It reports false for
// what is no script.
func parseShebang(head []byte) (shebang, bool) {
	rest, ok := bytes.CutPrefix(head, []byte("#!"))
	if !ok {
		return shebang{}, false
	}
	line, _, ended := bytes.Cut(rest, []byte("\n"))
	switch {
	case !ended && len(head) >= maxShebang:
		return shebang{wrong: "its first line has more than 256 bytes"}, true
	case bytes.HasSuffix(line, []byte("\r")):
		return shebang{wrong: "its first line ends in CR LF; save it with the line ends of Unix"}, true
	case bytes.IndexByte(line, 0) >= 0:
		return shebang{wrong: "its first line holds NUL"}, true
	}
	text := strings.Trim(string(line), " \t")
	end := strings.IndexAny(text, " \t")
	if end < 0 {
		end = len(text)
	}
	s := shebang{interpreter: text[:end], argument: strings.Trim(text[end:], " \t")}
	switch {
	case s.interpreter == "":
		return shebang{wrong: "its first line names no interpreter"}, true
	case !path.IsAbs(s.interpreter):
		return shebang{wrong: "its first line does not name the interpreter with an absolute path"}, true
	case s.interpreter == "/usr/bin/env" || s.interpreter == "/bin/env":
		return s.env(), true
	}
	return s, true
}

// env is what env(1) does with its one argument: look a name up.
func (s shebang) env() shebang {
	switch name := s.argument; {
	case name == "":
		return shebang{wrong: "its first line names env and nothing to look up"}
	case name[0] == '-':
		return shebang{wrong: "its first line has options for env, which are not read; name the interpreter, as in #!/usr/bin/env python3"}
	case strings.ContainsAny(name, " \t"):
		return shebang{wrong: "its first line has more than one word for env, which the kernel passes as one name"}
	case strings.ContainsAny(name, "="):
		return shebang{wrong: "its first line has env set a variable, which only the operator does"}
	case path.IsAbs(name):
		return shebang{interpreter: name}
	case strings.Contains(name, "/"):
		return shebang{wrong: "its first line has env run a relative path; name the interpreter alone"}
	}
	return shebang{look: s.argument}
}
