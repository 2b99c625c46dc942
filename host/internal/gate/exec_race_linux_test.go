package gate

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/capability"
)

// Somebody swaps what a command may see with what it may not, between the look at
// it and the start, and swaps it back when the command has ended. Either the
// command does not start, or it does not see it, or the turn is blocked.
func TestExecSwapped(t *testing.T) {
	for _, c := range []struct {
		what, a, b string
		copied     bool   // over the name, not swapped with it
		want       string // what the guest is told
	}{
		{"a file of a folder given whole", "src/a/x", "hidden/x", false, "0 SECRET"},
		{"a folder in one given whole", "src/a", "hidden", false, "0 SECRET"},
		{"a folder given whole", "src", "hidden", false, "failed: what the command was to see was changed meanwhile"},
		{"a file given by itself", "one/f.txt", "hidden/x", false, "failed: what the command was to see was changed meanwhile"},
		{"the folder of a file given by itself", "one", "hid", false, "the turn ended"},
		{"the content of a file given by itself", "one/f.txt", "hidden/x", true, "0 SECRET"},
		{"the content of a file given with its folder", "src/a/x", "hidden/x", true, "0 SECRET"},
		{"the workspace", ".", "../evil", false, "the turn ended"},
	} {
		t.Run(c.what, func(t *testing.T) {
			var y *yard
			swap := func() {
				if !c.copied {
					if err := exchange(y.at(c.a), y.at(c.b)); err != nil {
						t.Fatal(err)
					}
					return
				}
				a, err1 := os.ReadFile(y.at(c.a))
				b, err2 := os.ReadFile(y.at(c.b))
				if err := errors.Join(err1, err2, os.WriteFile(y.at(c.a), b, 0o644), os.WriteFile(y.at(c.b), a, 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			y = newYard(t, setup{
				grants: capability.Grants{Read: []string{"src/**", "one/*.txt"}, Execute: rules("grep -rhs SECRET /w")},
				files: map[string]string{
					"src/a/x": "plain\n", "src/b/y": "plain\n", "one/f.txt": "plain\n",
					"hidden/x": "SECRET\n", "hid/f.txt": "SECRET\n", "../evil/src/a/x": "SECRET\n", "../evil/one/f.txt": "SECRET\n",
				},
			}, nil, func(c *Commands) {
				wait := c.Wait
				c.Wait = func() func() time.Duration {
					swap()
					resume := wait()
					return func() time.Duration {
						swap()
						return resume()
					}
				}
			})
			time.Sleep(20 * time.Millisecond) // what was made belongs to an earlier tick of the clock
			var got string
			err := caught(func() { got = y.does("grep", "-rhs", "SECRET", "/w") })
			if err != nil {
				got = "the turn ended"
			}
			_, problems, err := y.Finish()
			if err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if strings.Contains(got, "SECRET") && len(problems) == 0 {
				t.Error("it was seen, and the turn is not blocked")
			}
		})
	}
}
