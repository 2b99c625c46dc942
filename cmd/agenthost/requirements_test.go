package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// requirement is a row of testdata/requirements.
type requirement struct {
	name, promise string
	rooms, tests  []string
}

// TestRequirements holds that there is a test for each promise, and that those
// which are named exist.
func TestRequirements(t *testing.T) {
	root := filepath.Join("..", "..")
	data, err := os.ReadFile(filepath.Join(root, "testdata", "requirements"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := parseRequirements(string(data))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range checkRequirements(root, rows) {
		t.Error(fault)
	}
}

// TestRequirementsAreHeld holds that the test above finds what it is for.
func TestRequirementsAreHeld(t *testing.T) {
	root := filepath.Join("..", "..")
	full := func(n int) string {
		return fmt.Sprintf("R%d promise\n    rooms ledger\n    ledger TestLock\n    script/run\n", n)
	}
	var good string
	for n := 1; n <= 18; n++ {
		good += full(n)
	}
	for _, c := range []struct{ name, text, want string }{
		{"all is well", good, "[]"},
		{"a row is missing", strings.Replace(good, full(7), "", 1), "[the rows are R1 R2 R3 R4 R5 R6 R8 R9 R10 R11 R12 R13 R14 R15 R16 R17 R18, want R1 to R18]"},
		{"a row without tests", strings.Replace(good, full(2), "R2 promise\n    rooms ledger\n", 1), "[R2 names no test]"},
		{"a row without rooms", strings.Replace(good, full(2), "R2 promise\n    ledger TestLock\n", 1), "[R2 names no room]"},
		{"no such room", strings.Replace(good, "rooms ledger", "rooms ledger cellar", 1), "[R1: there is no room cellar]"},
		{"no such test", strings.Replace(good, "TestLock", "TestLok", 1), "[R1: there is no test ledger TestLok]"},
		{"a helper of tests", strings.Replace(good, "ledger TestLock", "ledger goldenFiles", 1), "[R1: there is no test ledger goldenFiles]"},
		{"what only runs the tests", strings.Replace(good, "ledger TestLock", "ledger TestMain", 1), "[R1: there is no test ledger TestMain]"},
		{"no such script", strings.Replace(good, "script/run", "script/ran", 1), "[R1: there is no test script/ran]"},
	} {
		rows, err := parseRequirements(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := fmt.Sprint(checkRequirements(root, rows)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	for text, want := range map[string]string{
		"    ledger TestLock\n":  "line 1: a test before the first row",
		"R1\n":                   `line 1: "R1" is no row: want a number and a promise`,
		"R1 x\n    ledger a b\n": `line 2: "ledger a b" is no test: want PACKAGE TEST or script/NAME`,
		"R1 x\nR1 x\n":           "line 2: R1 is there twice",
	} {
		if _, err := parseRequirements(text); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func parseRequirements(text string) ([]requirement, error) {
	var rows []requirement
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		words := strings.Fields(line)
		switch {
		case line[0] != ' ' && len(words) < 2:
			return nil, fmt.Errorf("line %d: %q is no row: want a number and a promise", n, line)
		case line[0] != ' ':
			if slices.ContainsFunc(rows, func(r requirement) bool { return r.name == words[0] }) {
				return nil, fmt.Errorf("line %d: %s is there twice", n, words[0])
			}
			rows = append(rows, requirement{name: words[0], promise: strings.Join(words[1:], " ")})
		case len(rows) == 0:
			return nil, fmt.Errorf("line %d: a test before the first row", n)
		case words[0] == "rooms":
			rows[len(rows)-1].rooms = words[1:]
		case len(words) == 2, len(words) == 1 && strings.HasPrefix(words[0], "script/"):
			rows[len(rows)-1].tests = append(rows[len(rows)-1].tests, strings.Join(words, " "))
		default:
			return nil, fmt.Errorf("line %d: %q is no test: want PACKAGE TEST or script/NAME", n, strings.Join(words, " "))
		}
	}
	return rows, nil
}

// checkRequirements says what is wrong with the rows in the tree at root.
func checkRequirements(root string, rows []requirement) []string {
	var faults, names, want []string
	for n := 1; n <= 18; n++ {
		want = append(want, fmt.Sprintf("R%d", n))
	}
	tests := map[string][]string{} // of a package
	for _, r := range rows {
		names = append(names, r.name)
		if len(r.rooms) == 0 {
			faults = append(faults, r.name+" names no room")
		}
		if len(r.tests) == 0 {
			faults = append(faults, r.name+" names no test")
		}
		for _, room := range r.rooms {
			if !isFolder(filepath.Join(root, room)) {
				faults = append(faults, fmt.Sprintf("%s: there is no room %s", r.name, room))
			}
		}
		for _, test := range r.tests {
			if !testExists(root, test, tests) {
				faults = append(faults, fmt.Sprintf("%s: there is no test %s", r.name, test))
			}
		}
	}
	if !slices.Equal(names, want) {
		faults = append(faults, fmt.Sprintf("the rows are %s, want R1 to R18", strings.Join(names, " ")))
	}
	return faults
}

// testExists finds a test by its name in testdata/requirements. Those of a
// package are parsed once and kept in known.
func testExists(root, test string, known map[string][]string) bool {
	room, name, _ := strings.Cut(test, " ")
	if name == "" {
		_, err := os.Stat(filepath.Join(root, "testdata", room+".txtar"))
		return err == nil
	}
	if _, ok := known[room]; !ok {
		known[room] = testsOf(filepath.Join(root, room))
	}
	return slices.Contains(known[room], name)
}

// testsOf are the tests of the package in a folder, on whatever platform they
// run.
func testsOf(dir string) []string {
	var names []string
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return nil
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			continue // the compiler says why
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") && f.Name.Name != "TestMain" {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}
