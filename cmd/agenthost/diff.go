package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

const (
	maxText  = 1 << 20  // bytes of a file that is compared as text
	maxTexts = 16 << 20 // bytes of texts compared in one command
)

// Changes that a file would bring.
const (
	changeNew  = "new"
	changeMade = "changed"
	changeNone = "same"
)

// compared is a file in blocked diff.
type compared struct {
	keptFile
	Change  string  `json:"change,omitempty"`   // new, changed, same; empty where it cannot be told
	There   *beside `json:"there"`              // null: nothing is there
	ThereIs string  `json:"there_is,omitempty"` // what is there, if it cannot be read
	Diff    string  `json:"diff,omitempty"`
	Omitted string  `json:"omitted,omitempty"` // why there is no diff
}

// beside is the file that is where another would be published.
type beside struct {
	Size   int64        `json:"size"`
	SHA256 *ledger.Hash `json:"sha256"`
}

func (p *program) blockedDiff(c *cli.Context, root *session.Root, given []string) error {
	t, err := lastKept(root, given[0])
	if err != nil {
		return err
	}
	k, kept, err := readKept(c.Context, root, t, false)
	if err != nil {
		return err
	}
	if kept == nil {
		return nothingKept(t)
	}
	defer kept.Close()
	if k.Files, err = only(k.Files, string(t.id), given[1:]); err != nil {
		return err
	}
	d := differ{root: root, kept: kept, t: t, code: k.Code}
	files := []compared{}
	for i := range k.Files {
		f, err := d.compare(c.Context, k.Files[i])
		if err != nil {
			return err
		}
		k.Files[i] = f.keptFile // with its digest
		if p.json {
			files = append(files, f)
		} else {
			p.showCompared(f)
		}
	}
	if p.json {
		if err := p.term.value(struct {
			Session session.ID `json:"session_id"`
			Turn    int        `json:"turn_number"`
			Files   []compared `json:"files"`
		}{t.id, t.turn, files}); err != nil {
			return err
		}
	}
	return tampered(t, k.Files)
}

// only picks the files that paths name: by their names, those of folders they are
// in, as ledgers or as agents spell them.
func only(files []keptFile, id string, paths []string) ([]keptFile, error) {
	if len(paths) == 0 {
		return files, nil
	}
	var picked []keptFile
	hit := make([]bool, len(paths))
	for _, f := range files {
		wanted := false
		for i, path := range paths {
			path = strings.Trim(path, "/")
			if rest, out := strings.CutPrefix(path+"/", "out/"); out {
				path = strings.TrimSuffix("output/"+id+"/"+rest, "/")
			}
			if f.Path == path || strings.HasPrefix(f.Path, path+"/") {
				wanted, hit[i] = true, true
			}
		}
		if wanted {
			picked = append(picked, f)
		}
	}
	for i, path := range paths {
		if !hit[i] {
			return nil, usageError(fmt.Sprintf("the turn left no file %q", path), "agenthost blocked show lists what it left")
		}
	}
	return picked, nil
}

// differ compares the files of one turn with what is there.
type differ struct {
	root  *session.Root
	kept  *session.Kept
	t     target
	code  string // of the turn
	texts int64  // bytes compared as text so far
}

// compare reads both sides once: what is shown is what was hashed. The error is
// that of an interruption only.
func (d *differ) compare(ctx context.Context, f keptFile) (compared, error) {
	c := compared{keptFile: f}
	if f.State == keptMissing {
		return c, nil
	}
	var mine, theirs []byte
	if f.Is == "" {
		file, err := d.kept.Open(f.file)
		if err == nil {
			mine, c.SHA256, c.Size, err = readText(ctx, file)
			file.Close()
		}
		if err != nil {
			c.Is = err.Error()
		}
	}
	c.judge(d.code)
	if c.tampered() {
		return c, ctx.Err()
	}
	file, err := d.root.There(d.t.id, f.Path)
	if err == nil {
		c.There = &beside{}
		theirs, c.There.SHA256, c.There.Size, err = readText(ctx, file)
		file.Close()
	}
	switch {
	case ctx.Err() != nil:
		return c, ctx.Err()
	case errors.Is(err, fs.ErrNotExist):
		c.There, c.Change = nil, changeNew
	case err != nil:
		c.There, c.ThereIs = nil, err.Error()
		return c, nil
	case *c.There.SHA256 == *c.SHA256:
		c.Change = changeNone
		return c, nil
	default:
		c.Change = changeMade
	}
	c.Diff, c.Omitted = d.text(theirs, mine, c)
	return c, nil
}

// text is the unified diff without its head, or why there is none.
func (d *differ) text(theirs, mine []byte, c compared) (text, omitted string) {
	size := c.Size
	if c.There != nil {
		size = max(size, c.There.Size)
	}
	if size > maxText {
		return "", "large"
	}
	if !isText(theirs) || !isText(mine) {
		return "", "binary"
	}
	if d.texts += int64(len(theirs) + len(mine)); d.texts > maxTexts {
		return "", "enough was shown"
	}
	all := string(diff.Diff("a", theirs, "b", mine))
	for range 3 { // its own lines on the names
		_, all, _ = strings.Cut(all, "\n")
	}
	return all, ""
}

func isText(b []byte) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }

// readText hashes a file and returns its content unless that is large.
func readText(ctx context.Context, file io.Reader) ([]byte, *ledger.Hash, int64, error) {
	var start bytes.Buffer
	h, n, err := digestOf(ctx, io.TeeReader(file, &limited{&start, maxText + 1}))
	return start.Bytes(), h, n, err
}

// limited keeps the first bytes of what is written.
type limited struct {
	to   *bytes.Buffer
	room int
}

func (l *limited) Write(b []byte) (int, error) {
	part := b[:min(len(b), l.room)]
	l.room -= len(part)
	l.to.Write(part)
	return len(b), nil
}

// showCompared prints a file and how it differs.
func (p *program) showCompared(c compared) {
	kept := c.inWords()
	switch {
	case c.tampered():
		p.term.line("%s", kept)
	case c.ThereIs != "":
		p.term.line("%s  cannot be compared: %s", kept, c.ThereIs)
	case c.Change == changeNone:
		p.term.line("%s  is there already", kept)
	case c.Omitted != "":
		there := "nothing is there"
		if c.There != nil {
			there = fmt.Sprintf("%s, %s, is there", short(*c.There.SHA256), bytesText(c.There.Size))
		}
		p.term.line("%s  %s; %s", kept, c.Omitted, there)
	default:
		from := "a/" + escape(c.name)
		if c.Change == changeNew {
			from = "/dev/null"
		}
		p.term.styled("1", "--- "+from)
		p.term.styled("1", "+++ b/"+escape(c.name))
		for line := range strings.Lines(c.Diff) {
			p.term.styled(colorOf(line), strings.TrimSuffix(line, "\n"))
		}
		if c.Diff == "" { // an empty file
			p.term.line("(empty)")
		}
	}
}

func colorOf(line string) string {
	switch line[0] {
	case '+':
		return "32"
	case '-':
		return "31"
	case '@':
		return "36"
	}
	return ""
}
