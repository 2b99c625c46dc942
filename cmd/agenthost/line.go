package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// line is a command line taken apart. The library stops at the first operand,
// splits nothing we could trust to be whole, and guesses; so flags are found
// here, wherever they stand, and handed to it in the order it understands.
type line struct {
	path     []*cli.Command // the command, from the outermost group to itself
	globals  []string       // global flags, each as one argument --name=value
	flags    []string       // flags of the command, the same way
	operands []string
	rest     []string // what followed "--"; nil without one
	help     bool
	version  bool
}

// normalized is the line as the library wants it.
func (l line) normalized(name string) []string {
	args := append([]string{name}, l.globals...)
	for _, c := range l.path {
		args = append(args, c.Name)
	}
	args = append(args, l.flags...)
	return append(append(args, "--"), l.operands...)
}

// parseLine finds the command, its flags, its operands and the rest. Every error
// is a [*failure] with status 2.
func parseLine(app *cli.App, args []string) (line, error) {
	var l line
	seen := map[string]bool{}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			l.rest = append([]string{}, args[i+1:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			if err := l.word(app, arg); err != nil {
				return l, err
			}
			continue
		}
		spelled, value, hasValue := strings.Cut(arg, "=")
		flag, global := l.lookup(app, spelled)
		if flag == nil {
			return l, l.unknownFlag(app, spelled)
		}
		if takesValue(flag) && !hasValue {
			if i++; i == len(args) || args[i] == "--" {
				return l, usageError(fmt.Sprintf("%s needs a value", spelled), fmt.Sprintf("write %s %s", spelled, placeholder(flag)))
			}
			value = args[i]
			if next, _ := l.lookup(app, value); next != nil {
				return l, usageError(fmt.Sprintf("%s needs a value, and %s is a flag", spelled, value),
					fmt.Sprintf("write %s %s, or %s=%s if that is the value", spelled, placeholder(flag), spelled, value))
			}
		}
		name := flag.Names()[0]
		switch {
		case takesValue(flag) && value == "":
			return l, usageError(spelled+" is empty", "give it a value or leave it out")
		case takesValue(flag) && !isList(flag) && seen[name]:
			return l, usageError(spelled+" is given twice", "give it once")
		case !takesValue(flag) && hasValue && !isBool(value):
			return l, usageError(fmt.Sprintf("%s is %q, not true or false", spelled, value), "write "+spelled+" alone")
		case !takesValue(flag) && !hasValue:
			value = "true"
		}
		seen[name] = true
		switch {
		case name == "help":
			l.help = value == "true"
		case name == "version" && global:
			l.version = value == "true"
		case global:
			l.globals = append(l.globals, "--"+name+"="+value)
		default:
			l.flags = append(l.flags, "--"+name+"="+value)
		}
	}
	return l, l.complete(app)
}

// word takes the next argument that is not a flag: the name of a command while
// one is needed, else an operand.
func (l *line) word(app *cli.App, word string) error {
	choices := l.choices(app)
	if len(l.path) > 0 && len(choices) == 0 {
		l.operands = append(l.operands, word)
		return nil
	}
	if len(l.path) == 0 && word == "help" {
		l.help = true
		return nil
	}
	names := make([]string, len(choices))
	for i, c := range choices {
		if c.HasName(word) {
			l.path = append(l.path, c)
			return nil
		}
		names[i] = c.Name
	}
	message, hint := fmt.Sprintf("unknown command %q", l.spelled(word)), app.Name+" --help lists the commands"
	if len(l.path) > 0 {
		hint = "one of " + strings.Join(names, ", ")
	}
	if near := nearest(word, names); near != "" {
		hint = fmt.Sprintf("did you mean %s?", l.spelled(near))
	}
	return usageError(message, hint)
}

// complete reports a line that stops short of a command.
func (l *line) complete(app *cli.App) error {
	choices := l.choices(app)
	switch {
	case l.help || l.version:
		return nil
	case len(l.path) == 0:
		return usageError("no command given", app.Name+" --help lists the commands")
	case len(choices) == 0:
		return nil
	}
	names := make([]string, len(choices))
	for i, c := range choices {
		names[i] = c.Name
	}
	return usageError(l.spelled("")+" needs the name of a command", "one of "+strings.Join(names, ", "))
}

// choices are the commands that may come next; none where a command is complete.
func (l *line) choices(app *cli.App) []*cli.Command {
	if len(l.path) == 0 {
		return app.Commands
	}
	return l.path[len(l.path)-1].Subcommands
}

// spelled is the command so far, and word behind it.
func (l *line) spelled(word string) string {
	var words []string
	for _, c := range l.path {
		words = append(words, c.Name)
	}
	if word != "" {
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// lookup finds the flag that is spelled so, among those of the command and the
// global ones. One letter has one dash, a word has two.
func (l *line) lookup(app *cli.App, spelled string) (flag cli.Flag, global bool) {
	if len(l.path) > 0 {
		for _, f := range l.path[len(l.path)-1].Flags {
			if slices.Contains(spellings(f), spelled) {
				return f, false
			}
		}
	}
	for _, f := range app.Flags {
		if slices.Contains(spellings(f), spelled) {
			return f, true
		}
	}
	return nil, false
}

func (l *line) unknownFlag(app *cli.App, spelled string) error {
	var known []string
	if len(l.path) > 0 {
		for _, f := range l.path[len(l.path)-1].Flags {
			known = append(known, spellings(f)...)
		}
	}
	for _, f := range app.Flags {
		known = append(known, spellings(f)...)
	}
	help := strings.TrimSpace(app.Name + " " + l.spelled(""))
	message, hint := fmt.Sprintf("unknown flag %s", spelled), help+" --help lists the flags"
	if len(l.path) > 0 {
		message += " of " + l.spelled("")
	}
	if near := nearest(spelled, known); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	} else if len(l.path) == 0 || len(l.choices(app)) > 0 {
		hint = "flags of a command come after its name; " + hint
	} else if len(l.operands) > 0 {
		hint += `; put "--" in front of words that are no flags`
	}
	return usageError(message, hint)
}

// checkEnvironment reports a variable of a global switch that says neither yes
// nor no; the library would name neither variable nor way out.
func checkEnvironment(flags []cli.Flag, getenv func(string) string) error {
	for _, f := range flags {
		for _, name := range documented(f).GetEnvVars() {
			if value := getenv(name); !takesValue(f) && value != "" && !isBool(value) {
				return usageError(fmt.Sprintf("%s is %q, not true or false", name, value), "unset it, or set it to true")
			}
		}
	}
	return nil
}

// spellings are the ways a flag is written.
func spellings(f cli.Flag) []string {
	names := slices.Clone(f.Names())
	for i, n := range names {
		if len(n) == 1 {
			names[i] = "-" + n
		} else {
			names[i] = "--" + n
		}
	}
	return names
}

func takesValue(f cli.Flag) bool {
	_, isSwitch := f.(*cli.BoolFlag)
	return !isSwitch
}

func isList(f cli.Flag) bool {
	_, list := f.(*cli.StringSliceFlag)
	return list
}

func isBool(s string) bool {
	_, err := strconv.ParseBool(s)
	return err == nil
}

// nearest returns the known name a person most likely meant, or "". Dashes in
// front do not count.
func nearest(word string, known []string) string {
	word = strings.TrimLeft(word, "-")
	length := len([]rune(word))
	best, least := "", min(length, length/3+2)
	for _, k := range known {
		if d := distance(word, strings.TrimLeft(k, "-")); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is Levenshtein's: the single letters to add, drop or change.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	row := make([]int, len(t)+1)
	for j := range row {
		row[j] = j
	}
	for i := range s {
		diagonal := row[0]
		row[0] = i + 1
		for j := range t {
			change := diagonal
			if s[i] != t[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(t)]
}
