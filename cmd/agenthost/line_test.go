package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// TestFlagsAnywhere puts every flag of every command first and last, and before
// the name of its command where it is a global one.
func TestFlagsAnywhere(t *testing.T) {
	app := (&program{}).app()
	for _, path := range leafPaths(app.Commands, nil) {
		words := make([]string, len(path))
		for i, c := range path {
			words[i] = c.Name
		}
		own := path[len(path)-1].Flags
		for i, f := range append(slices.Clone(own), globals()...) {
			for _, spelled := range spellings(f) {
				flag := []string{spelled}
				if takesValue(f) {
					flag = append(flag, "a,b")
				}
				places := [][]string{
					slices.Concat(words, flag, []string{"X", "Y"}),
					slices.Concat(words, []string{"X"}, flag, []string{"Y"}),
					slices.Concat(words, []string{"X", "Y"}, flag),
				}
				if i >= len(own) {
					places = append(places, slices.Concat(flag, words, []string{"X", "Y"}))
				}
				for _, args := range places {
					l, err := parseLine(app, args)
					if err != nil {
						t.Errorf("%q: %v", args, err)
						continue
					}
					if l.help || l.version {
						continue
					}
					value, operands := ran(t, l, words, f)
					if want := map[bool]string{true: "a,b", false: "true"}[takesValue(f)]; value != want {
						t.Errorf("%q: %s is %q, want %q", args, f.Names()[0], value, want)
					}
					if want := []string{"X", "Y"}; !slices.Equal(operands, want) {
						t.Errorf("%q: operands %q, want %q", args, operands, want)
					}
				}
			}
		}
	}
}

// ran lets the library parse the line and returns what the command at words saw.
func ran(t *testing.T, l line, words []string, f cli.Flag) (value string, operands []string) {
	t.Helper()
	app := (&program{term: newTerminal(&bytes.Buffer{}, &bytes.Buffer{}, noEnv)}).app()
	commands, leaf := app.Commands, (*cli.Command)(nil)
	for _, w := range words {
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.Name == w })
		leaf, commands = commands[i], commands[i].Subcommands
	}
	called := false
	leaf.Action = func(c *cli.Context) error {
		called, operands = true, c.Args().Slice()
		switch name := f.Names()[0]; {
		case isList(f):
			value = strings.Join(c.StringSlice(name), "|")
		case takesValue(f):
			value = c.String(name)
		case c.Bool(name):
			value = "true"
		}
		return nil
	}
	if err := app.RunContext(context.Background(), l.normalized(app.Name)); err != nil || !called {
		t.Fatalf("%q: called %t: %v", words, called, err)
	}
	return value, operands
}

// TestFlagNames: no command hides a global flag, and each flag says what its
// value is.
func TestFlagNames(t *testing.T) {
	app := (&program{}).app()
	taken := map[string]bool{}
	for _, f := range app.Flags {
		for _, s := range spellings(f) {
			taken[s] = true
		}
		if name := f.Names()[0]; name != "help" && name != "version" {
			if got, want := documented(f).GetEnvVars(), []string{"AGENTHOST_" + strings.ToUpper(name)}; !slices.Equal(got, want) {
				t.Errorf("--%s: environment %q, want %q", name, got, want)
			}
		}
	}
	for _, path := range leafPaths(app.Commands, nil) {
		c := path[len(path)-1]
		if c.Usage == "" || c.Description == "" || c.Action == nil {
			t.Errorf("%s: usage, description or action is missing", c.Name)
		}
		for _, f := range c.Flags {
			for _, s := range spellings(f) {
				if taken[s] {
					t.Errorf("%s %s hides a global flag", c.Name, s)
				}
			}
			if takesValue(f) && placeholder(f) == "" {
				t.Errorf("%s %s: no name for its value", c.Name, f.Names()[0])
			}
		}
	}
}

func leafPaths(commands []*cli.Command, above []*cli.Command) [][]*cli.Command {
	var paths [][]*cli.Command
	for _, c := range commands {
		path := append(slices.Clone(above), c)
		if len(c.Subcommands) > 0 {
			paths = append(paths, leafPaths(c.Subcommands, path)...)
		} else {
			paths = append(paths, path)
		}
	}
	return paths
}

// trial is a command tree that stays as it is while the program grows.
func trial() *cli.App {
	return &cli.App{Name: "agenthost", Flags: globals(), Commands: []*cli.Command{
		{Name: "run", Flags: []cli.Flag{
			&cli.StringFlag{Name: "policy", Usage: "`FILE`"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`DIR`"},
			&cli.StringSliceFlag{Name: "input", Usage: "`GLOB`"},
			&cli.BoolFlag{Name: "strict"},
		}},
		{Name: "policy", Subcommands: []*cli.Command{{Name: "show"}, {Name: "check"}}},
	}}
}

func TestParseLine(t *testing.T) {
	for _, c := range []struct {
		args string
		want string // the normalized line, and the rest
	}{
		{"run p", "run -- p"},
		{"run p --strict q", "run --strict=true -- p q"},
		{"run p --input a --input=b,c -o d", "run --input=a --input=b,c --output=d -- p"},
		{"--json run p --root r", "--json=true --root=r run -- p"},
		{"run - p", "run -- - p"},
		{"run --policy - p", "run --policy=- -- p"},
		{"run --policy -x p", "run --policy=-x -- p"},
		{"run --policy=--json p", "run --policy=--json -- p"},
		{"run p -- --strict -- q", "run -- p | --strict -- q"},
		{"run --json=false p", "--json=false run -- p"},
		{"policy check p", "policy check -- p"},
	} {
		l, err := parseLine(trial(), strings.Fields(c.args))
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		got := strings.Join(l.normalized("agenthost")[1:], " ")
		if l.rest != nil {
			got += " | " + strings.Join(l.rest, " ")
		}
		if got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.args, got, c.want)
		}
	}
}

func TestParseLineMistakes(t *testing.T) {
	for _, c := range []struct{ args, message, hint string }{
		{"", "no command given", "agenthost --help lists the commands"},
		{"rum", `unknown command "rum"`, "did you mean run?"},
		{"frobnicate", `unknown command "frobnicate"`, "agenthost --help lists the commands"},
		{"policy", "policy needs the name of a command", "one of show, check"},
		{"policy chekc", `unknown command "policy chekc"`, "did you mean policy check?"},
		{"policy zzzzzz", `unknown command "policy zzzzzz"`, "one of show, check"},
		{"run p --strickt", "unknown flag --strickt of run", "did you mean --strict?"},
		{"run p -strict", "unknown flag -strict of run", "did you mean --strict?"},
		{"run p --o=d", "unknown flag --o of run", "did you mean -o?"},
		{"run p -x", "unknown flag -x of run", `agenthost run --help lists the flags; put "--" in front of words that are no flags`},
		{"run p --frobnicate", "unknown flag --frobnicate of run", `agenthost run --help lists the flags; put "--" in front of words that are no flags`},
		{"--strict run p", "unknown flag --strict", "flags of a command come after its name; agenthost --help lists the flags"},
		{"run p --policy", "--policy needs a value", "write --policy FILE"},
		{"run p --policy -- q", "--policy needs a value", "write --policy FILE"},
		{"run p --policy --strict", "--policy needs a value, and --strict is a flag", "write --policy FILE, or --policy=--strict if that is the value"},
		{"run p --policy=", "--policy is empty", "give it a value or leave it out"},
		{"run --policy a p --policy b", "--policy is given twice", "give it once"},
		{"run p -o a --output b", "--output is given twice", "give it once"},
		{"run p --strict=maybe", `--strict is "maybe", not true or false`, "write --strict alone"},
	} {
		_, err := parseLine(trial(), strings.Fields(c.args))
		f := explain(err)
		if f.message != c.message || f.hint != c.hint || f.code != exitUsage {
			t.Errorf("%s\ngot  %d %s\n     %s\nwant 2 %s\n     %s", c.args, f.code, f.message, f.hint, c.message, c.hint)
		}
	}
}

func noEnv(string) string { return "" }
