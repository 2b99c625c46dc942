package main

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host"
)

const appDescription = `An agent is a WebAssembly program in a package. It holds no right of its own:
each file it reads, writes or lists goes through one gate, which asks what the
package was granted, records the answer, and only then gives it. What the agent
wrote is published only if it is exactly what was declared.

Flags stand anywhere on the line; "--" ends them. Standard output carries the
result or JSON, standard error everything else.

Exit statuses: 0 done, 1 the agent failed, 2 the request is wrong and nothing
was changed, 3 blocked and nothing was published, 4 a record does not verify,
6 refused: not accepted, not trusted, or against a rule of the control plane, 7 a
limit ended the turn, 8 the host failed, 130 and 143 interrupted.
`

// helpText explains the command at the end of path, or the whole program.
func helpText(app *cli.App, path []*cli.Command) string {
	var b strings.Builder
	name, usage, operands, description := app.Name, app.Usage, "", app.Description
	commands, flags := app.Commands, []cli.Flag(nil)
	for _, c := range path {
		name += " " + c.Name
		usage, operands, description = c.Usage, c.ArgsUsage, c.Description
		commands, flags = c.Subcommands, c.Flags
	}
	fmt.Fprintf(&b, "%s - %s\n\n", name, usage)
	switch {
	case len(commands) > 0:
		fmt.Fprintf(&b, "Usage: %s COMMAND [flags]\n", name)
	case operands != "":
		fmt.Fprintf(&b, "Usage: %s %s [flags]\n", name, operands)
	default:
		fmt.Fprintf(&b, "Usage: %s [flags]\n", name)
	}
	if description != "" {
		fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(description))
	}
	if len(commands) > 0 {
		b.WriteString("\nCommands:\n")
		list, width := leaves(commands, ""), 18
		for _, c := range list {
			width = max(width, len(c[0]))
		}
		for _, c := range list {
			fmt.Fprintf(&b, "  %-*s %s\n", width, c[0], c[1])
		}
	}
	writeFlags(&b, "Flags", flags)
	if len(path) == 0 {
		writeFlags(&b, "Flags of every command", app.Flags)
	} else {
		fmt.Fprintf(&b, "\n%s --help explains the flags of every command.\n", app.Name)
	}
	return b.String()
}

// leaves lists the commands that do something: name and usage of each.
func leaves(commands []*cli.Command, prefix string) [][2]string {
	var list [][2]string
	for _, c := range commands {
		if len(c.Subcommands) > 0 {
			list = append(list, leaves(c.Subcommands, prefix+c.Name+" ")...)
		} else {
			list = append(list, [2]string{prefix + c.Name, c.Usage})
		}
	}
	return list
}

func writeFlags(b *strings.Builder, title string, flags []cli.Flag) {
	if len(flags) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s:\n", title)
	for _, f := range flags {
		head := strings.Join(spellings(f), ", ")
		if takesValue(f) {
			head += " " + placeholder(f)
		}
		if isList(f) {
			head += "…"
		}
		about := strings.ReplaceAll(documented(f).GetUsage(), "`", "")
		if env := documented(f).GetEnvVars(); len(env) > 0 {
			about += " [" + strings.Join(env, ", ") + "]"
		}
		fmt.Fprintf(b, "  %s\n      %s\n", head, about)
	}
}

// placeholder is the word in backquotes in a flag's usage, which stands for its
// value.
func placeholder(f cli.Flag) string {
	_, after, _ := strings.Cut(documented(f).GetUsage(), "`")
	word, _, _ := strings.Cut(after, "`")
	return word
}

// documented is what every flag of the library is.
func documented(f cli.Flag) cli.DocGenerationFlag {
	return f.(cli.DocGenerationFlag)
}

func versionText() string {
	return fmt.Sprintf("agenthost %s (%s, %s/%s)\n", host.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
