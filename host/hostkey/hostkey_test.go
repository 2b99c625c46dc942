package hostkey

import (
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestDir: which folder it is, and that nothing is guessed where none is named.
func TestDir(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems have the folder elsewhere")
	}
	for _, c := range []struct{ named, home, xdg, dir, err, hint string }{
		{"/a/b", "/home/u", "/x", "/a/b", "", ""},
		{"/a/./b/", "", "", "/a/b", "", ""},
		{"", "/home/u", "/x", "/x/agenthost", "", ""},
		{"", "/home/u", "", "/home/u/.config/agenthost", "", ""},
		{"b", "/home/u", "", "", `AGENTHOST_CONFIG is "b", which is not an absolute path`, "name the folder of the host key from / on"},
		{"", "", "", "", "there is no folder for the host key: neither $XDG_CONFIG_HOME nor $HOME are defined", "set HOME, XDG_CONFIG_HOME or AGENTHOST_CONFIG to a folder of yours"},
		{"", "/home/u", "x", "", "there is no folder for the host key: path in $XDG_CONFIG_HOME is relative", "set HOME, XDG_CONFIG_HOME or AGENTHOST_CONFIG to a folder of yours"},
		{"", "u", "", "", `there is no folder for the host key: "u/.config" is not an absolute path`, "set HOME, XDG_CONFIG_HOME or AGENTHOST_CONFIG to a folder of yours"},
	} {
		t.Setenv("HOME", c.home)
		t.Setenv("XDG_CONFIG_HOME", c.xdg)
		dir, err := Dir(c.named)
		if dir != c.dir || said(err) != strings.TrimSuffix(c.err+"\n"+c.hint, "\n") {
			t.Errorf("%+v:\ngot %q, %s", c, dir, said(err))
		}
	}
	if got, want := File("/a"), filepath.FromSlash("/a/host.key"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// said is what an error says, and its hint on a line of its own.
func said(err error) string {
	switch e := err.(type) {
	case nil:
		return ""
	case *Error:
		return e.What + "\n" + e.Hint
	}
	return err.Error()
}
