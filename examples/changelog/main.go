// Changelog is an agent that writes out/CHANGELOG.md from the history of the
// repository it is granted. It reads no commit itself: the host runs git for it,
// behind a fence in which there is that history and nothing else.
//
// The query may say how: {"title": "Changes", "by": "month", "authors": true}.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	agent "github.com/agenthost/agenthost/guest-sdk/go"
)

func main() { agent.Main(changelog) }

func changelog(r *agent.Request) (any, error) {
	how := style{Title: "Changelog"}
	if err := r.Decode(&how); err != nil {
		return nil, err
	}
	if how.By != "" && how.By != byTag && how.By != byMonth {
		return nil, fmt.Errorf("by is %q: want %q or %q", how.By, byTag, byMonth)
	}
	if err := repository(".git"); err != nil {
		return nil, err
	}
	log, err := gitLog()
	if err != nil {
		return nil, err
	}
	commits, err := parse(log)
	if err != nil {
		return nil, err
	}
	sections := how.group(commits)
	if err := os.WriteFile("out/CHANGELOG.md", how.markdown(sections), 0o644); err != nil {
		return nil, err
	}
	return map[string]any{"changelog": "out/CHANGELOG.md", "commits": len(commits), "sections": len(sections)}, nil
}

// repository says what is wrong with the one in the workspace, where that can be
// seen without git.
func repository(name string) error {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is no git repository here: run it in the folder that holds .git, or name that with --workspace")
	case err != nil:
		return err
	case !info.IsDir():
		return errors.New("here .git is a file, as in a worktree or a submodule: the history lies elsewhere, where no grant reaches; run it in the main working tree of the repository")
	}
	return nil
}

// gitLog has the host run the command of the manifest, word for word.
func gitLog() ([]byte, error) {
	output, err := agent.Command("git", "log", "-z", logFormat).Output()
	var exit *agent.ExitError
	switch {
	case errors.As(err, &exit):
		return nil, explain(string(exit.Stderr))
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("git is not installed, or not where the operator's policy looks for commands: %w", err)
	}
	return output, err
}

// explain is what git said, and what to do where that is known.
func explain(stderr string) error {
	said := strings.TrimSpace(stderr)
	switch {
	case strings.Contains(said, "does not have any commits yet"), strings.Contains(said, "bad default revision"):
		return errors.New("the repository has no commits yet")
	case strings.Contains(said, "'.git/config': Permission denied"):
		return errors.New("git does without .git/config where it is not there, as in the full fence, and not where it may not be read, as in the landlock fence: agenthost doctor tells what this machine lacks")
	case strings.Contains(said, "alternate"):
		return fmt.Errorf("the repository borrows objects from another one, where no grant reaches: run git repack -a -d in it first (git: %s)", said)
	}
	return fmt.Errorf("git: %s", said)
}
