package main

import (
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/record"
)

// tokenVariable is the environment variable of the admin token.
const tokenVariable = "AGENTHOST_ADMIN_TOKEN"

// tokenWays names the ways to give the token, for hints.
const tokenWays = "name a file that holds it with --token-file FILE (- reads standard input), set " + tokenVariable + ", or give it with --token; agenthost control init prints it once"

// tokenFlags are the flags of a command that changes a control plane.
func tokenFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "token-file", Usage: "read the admin token from `FILE`, which nobody else may read; - reads standard input (default: the variable " + tokenVariable + ")"},
		&cli.StringFlag{Name: "token", Usage: "the admin `TOKEN` itself, which others on this machine can see in the list of processes: better --token-file or " + tokenVariable},
	}
}

// hasTokenFlag reports whether the line gives a token.
func hasTokenFlag(c *cli.Context) bool {
	return c.String("token-file") != "" || c.String("token") != ""
}

// adminToken is the token of who asks for a change: of --token-file, of --token,
// or of the environment. Whether it is the right one is for the plane to say. No
// message holds it.
func (p *program) adminToken(c *cli.Context) (string, error) {
	file, given := c.String("token-file"), c.String("token")
	switch {
	case file != "" && given != "":
		return "", usageError("--token-file and --token were given", "leave one of them out")
	case file != "":
		return until(c.Context, func() (string, error) { return p.readToken(file) })
	case given != "":
		p.term.note("agenthost: warning: others on this machine can see --token in the list of processes; --token-file and %s keep it from them", tokenVariable)
		return given, nil
	}
	if token := os.Getenv(tokenVariable); token != "" {
		return token, nil
	}
	return "", usageError("a change of the control plane needs the admin token", tokenWays)
}

// readToken reads the token from a file, or from standard input.
func (p *program) readToken(name string) (string, error) {
	if name == "-" {
		return oneToken("standard input", p.stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return "", usageError("--token-file: "+err.Error(), "names are relative to the current folder")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", usageError("--token-file: "+err.Error(), "give a file that can be read")
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", usageError(
			fmt.Sprintf("--token-file %s: others may read or write it (mode %04o), and so it keeps no token", name, info.Mode().Perm()),
			"take that right away: chmod 600 "+shellWord(name)+"; if somebody may have read it, agenthost control token rotate makes another token",
		)
	}
	if p.inWorkspace(name) {
		p.term.note("agenthost: warning: %s lies in the workspace, where an agent can be granted to read it: keep the admin token elsewhere", name)
	}
	return oneToken("--token-file "+name, f)
}

// inWorkspace reports whether a file lies in what agents see.
func (p *program) inWorkspace(name string) bool { return liesIn(name, p.workspaceFolder()) }

// liesIn reports whether a file lies in a folder, or is it; what does not exist
// does not.
func liesIn(name, folder string) bool {
	file, err := filepath.EvalSymlinks(name)
	if err != nil {
		return false
	}
	top, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return false
	}
	if file, err = filepath.Abs(file); err != nil {
		return false
	}
	if top, err = filepath.Abs(top); err != nil {
		return false
	}
	rel, err := filepath.Rel(top, file)
	return err == nil && filepath.IsLocal(rel)
}

// oneToken reads a token, which is all there is but for the end of its line.
func oneToken(from string, r io.Reader) (string, error) {
	const most = 1024
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	token := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	hint := "it is one line, as agenthost control init printed it"
	switch {
	case err != nil:
		return "", usageError(from+": "+err.Error(), "give a file that can be read")
	case token == "":
		return "", usageError(from+" is empty", hint)
	case len(data) > most, strings.ContainsAny(token, "\r\n"):
		return "", usageError(from+" holds more than a token", hint)
	}
	return token, nil
}

// withoutTokens is text in which nobody can read a token that was given in the
// wrong place.
func withoutTokens(s string) string {
	if !strings.Contains(s, plane.TokenPrefix) {
		return s
	}
	tokens := regexp.MustCompile(plane.TokenPrefix + `[A-Za-z0-9_-]{43}`)
	return tokens.ReplaceAllLiteralString(s, plane.TokenPrefix+"…")
}

// invoker is the user who runs this program.
func invoker() record.Actor {
	by := record.Actor{UID: int64(os.Getuid())}
	if u, err := user.Current(); err == nil {
		by.User = u.Username
	}
	return by
}
