package gate

import (
	"fmt"
	"strings"
	"testing"
)

func TestShebang(t *testing.T) {
	long := func(n int) string { return "#!/bin/" + strings.Repeat("x", n-len("#!/bin/\n")) + "\n" }
	for _, c := range []struct{ head, want string }{
		{"", "none"},
		{"#", "none"},
		{"#\n!/bin/sh\n", "none"},
		{" #!/bin/sh\n", "none"},
		{"\x7fELF", "none"},
		{"#!/bin/sh\n", "[/bin/sh]"},
		{"#!/bin/sh", "[/bin/sh]"}, // the kernel does not ask for an end
		{"#! \t/bin/sh \t\necho", "[/bin/sh]"},
		{"#!/bin/sh -e\n", "[/bin/sh -e]"},
		{"#!/bin/sh  -e -u \n", "[/bin/sh -e -u]"}, // one argument
		{"#!/usr/bin/awk -f\n", "[/usr/bin/awk -f]"},
		{"#!/usr/bin/env python3\n", "look python3"},
		{"#!/bin/env\tpython3\n", "look python3"},
		{"#!/usr/bin/env /usr/bin/python3\n", "[/usr/bin/python3]"},
		{"#!/usr/bin/env", "its first line names env and nothing to look up"},
		{"#!/usr/bin/env -S python3 -u\n", "its first line has options for env, which are not read; name the interpreter, as in #!/usr/bin/env python3"},
		{"#!/usr/bin/env -i\n", "its first line has options for env, which are not read; name the interpreter, as in #!/usr/bin/env python3"},
		{"#!/usr/bin/env python3 -u\n", "its first line has more than one word for env, which the kernel passes as one name"},
		{"#!/usr/bin/env LD_PRELOAD=/out/x.so\n", "its first line has env set a variable, which only the operator does"},
		{"#!/usr/bin/env bin/python3\n", "its first line has env run a relative path; name the interpreter alone"},
		{"#!/bin/sh\r\n", "its first line ends in CR LF; save it with the line ends of Unix"},
		{"#!/usr/bin/env python3\r\n", "its first line ends in CR LF; save it with the line ends of Unix"},
		{"#!\n", "its first line names no interpreter"},
		{"#! \t\n/bin/sh", "its first line names no interpreter"},
		{"#!sh\n", "its first line does not name the interpreter with an absolute path"},
		{"#!./sh\n", "its first line does not name the interpreter with an absolute path"},
		{"#!/bin/s\x00h\n", "its first line holds NUL"},
		{long(256), "[/bin/" + strings.Repeat("x", 248) + "]"},
		{long(257)[:256], "its first line has more than 256 bytes"},
	} {
		s, script := parseShebang([]byte(c.head))
		got := "none"
		switch {
		case s.wrong != "":
			got = s.wrong
		case s.look != "":
			got = "look " + s.look
		case script:
			got = fmt.Sprint(s.argv())
		}
		if got != c.want {
			t.Errorf("%.40q: got %s, want %s", c.head, got, c.want)
		}
	}
}
