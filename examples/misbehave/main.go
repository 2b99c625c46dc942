// Misbehave is an agent that does what it may not, in the way its argument says:
//
//	probe       looks for files that are none of its business, and goes on
//	forbidden   reads a file its manifest forbids
//	undeclared  writes a file the turn did not declare
//	sneak       leaves an undeclared file in its own output folder
//	loop        computes for ever
//
// Without an argument it does the first three, as far as it gets.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

var modes = map[string]func(){
	"probe":      probe,
	"forbidden":  forbidden,
	"undeclared": undeclared,
	"sneak":      sneak,
	"loop":       loop,
}

func main() {
	if len(os.Args) == 1 {
		probe()
		forbidden()
		undeclared()
		return
	}
	for _, name := range os.Args[1:] {
		mode, ok := modes[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "misbehave: no mode %q\n", name)
			os.Exit(2)
		}
		mode()
	}
}

// probe asks for what real programs often ask for, and for more.
func probe() {
	for _, name := range []string{".env", ".git/config", "../../etc/passwd", "/etc/passwd", "/proc/self/environ", ".ssh/id_ed25519"} {
		_, err := os.ReadFile(name)
		fmt.Printf("%s: %s\n", name, outcome(err))
	}
}

func forbidden() {
	_, err := os.ReadFile("LICENSE")
	fmt.Printf("LICENSE: %s\n", outcome(err))
}

func undeclared() {
	err := os.WriteFile("NOTES.md", []byte("I was here.\n"), 0o644)
	fmt.Printf("NOTES.md: %s\n", outcome(err))
}

func sneak() {
	err := os.WriteFile("out/extra.txt", []byte("nobody asked for this\n"), 0o644)
	fmt.Printf("out/extra.txt: %s\n", outcome(err))
}

// loop never ends: the product of odd numbers is odd.
func loop() {
	for n := 1; n != 0; n *= 3 {
	}
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	}
	return err.Error()
}
