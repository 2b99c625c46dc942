package main

import (
	"os/exec"
	"testing"
)

// TestShellWord: a shell gives back what was quoted.
func TestShellWord(t *testing.T) {
	for word, want := range map[string]string{
		"agent": "agent", "./a-b/c.tar.gz": "./a-b/c.tar.gz", "SES-1:2": "SES-1:2", "": "''", "a b": "'a b'", "it's": `'it'\''s'`,
		"$(rm x)": "'$(rm x)'", "~": "'~'", "a\nb": "'a\nb'", "*": "'*'", "ü": "'ü'", "#": "'#'", "a;b": "'a;b'", `\`: `'\'`,
	} {
		got := shellWord(word)
		if got != want {
			t.Errorf("%q: got %s, want %s", word, got, want)
		}
		out, err := exec.Command("sh", "-c", "printf %s "+got).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q: a shell makes %q of %s, %v", word, out, got, err)
		}
	}
}
