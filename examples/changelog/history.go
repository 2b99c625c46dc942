package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// logFormat has git end each field of a commit with NUL, which none of them can
// hold: hash, parents, time, author, names, subject.
const (
	logFormat = "--format=%H%x00%P%x00%ct%x00%an%x00%D%x00%s"
	fields    = 6
)

// A commit is one of the log.
type commit struct {
	hash    string
	merge   bool
	when    time.Time // UTC
	author  string
	tags    []string
	subject string
}

// parse reads what git log -z with logFormat wrote.
func parse(log []byte) ([]commit, error) {
	if len(log) == 0 {
		return nil, nil
	}
	words := strings.Split(strings.TrimSuffix(string(log), "\x00"), "\x00")
	if len(words)%fields != 0 {
		return nil, fmt.Errorf("git log: %d fields, want %d of each commit", len(words), fields)
	}
	var commits []commit
	for w := range slices.Chunk(words, fields) {
		seconds, err := strconv.ParseInt(w[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("git log: commit %.40q: time %.40q", w[0], w[2])
		}
		c := commit{
			hash: w[0], merge: strings.Contains(w[1], " "), when: time.Unix(seconds, 0).UTC(),
			author: w[3], subject: w[5],
		}
		for _, name := range strings.Split(w[4], ", ") {
			if tag, ok := strings.CutPrefix(name, "tag: "); ok {
				c.tags = append(c.tags, tag)
			}
		}
		commits = append(commits, c)
	}
	return commits, nil
}

// A style is how the changelog is to look.
type style struct {
	Title   string `json:"title"`
	By      string `json:"by"`      // byTag, byMonth; empty: by tag where there is one
	Authors bool   `json:"authors"` // name them
}

const (
	byTag   = "tag"
	byMonth = "month"
)

// A section is commits under one heading.
type section struct {
	heading string
	commits []commit
}

// group puts commits, newest first as git log gives them, into sections. With a
// tag begins the section of what it released. Merges are left out, but not their
// tags.
func (s style) group(commits []commit) []section {
	tagged := slices.ContainsFunc(commits, func(c commit) bool { return c.tags != nil })
	if s.By == byMonth || s.By == "" && !tagged {
		return months(commits)
	}
	sections := []section{{heading: "Unreleased"}}
	for _, c := range commits {
		if c.tags != nil {
			heading := escape(strings.Join(c.tags, ", ")) + ", " + c.when.Format(time.DateOnly)
			sections = append(sections, section{heading: heading})
		}
		sections[len(sections)-1].add(c)
	}
	if len(sections[0].commits) == 0 {
		return sections[1:]
	}
	return sections
}

// months goes by time alone: where branches were merged, git log does not.
func months(commits []commit) (sections []section) {
	commits = slices.SortedStableFunc(slices.Values(commits), func(a, b commit) int { return b.when.Compare(a.when) })
	for _, c := range commits {
		heading := c.when.Format("January 2006")
		if len(sections) == 0 || sections[len(sections)-1].heading != heading {
			sections = append(sections, section{heading: heading})
		}
		sections[len(sections)-1].add(c)
	}
	return slices.DeleteFunc(sections, func(s section) bool { return len(s.commits) == 0 })
}

func (s *section) add(c commit) {
	if !c.merge {
		s.commits = append(s.commits, c)
	}
}

func (s style) markdown(sections []section) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n", escape(s.Title))
	for _, section := range sections {
		fmt.Fprintf(&b, "\n## %s\n", section.heading)
		for i, c := range section.commits {
			if i == 0 {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "- %s (%.10s", escape(c.subject), c.hash)
			if s.Authors {
				b.WriteString(", " + escape(c.author))
			}
			b.WriteString(")\n")
		}
	}
	return []byte(b.String())
}

// zeroWidthJoiner makes one emoji of several.
const zeroWidthJoiner = '\u200d'

// escape makes text that Markdown shows as it is, on one line, without what could
// fool a terminal or a reader.
func escape(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return "(nothing)"
	}
	// At the beginning a sign, or a number with one behind it, makes a list or a
	// heading.
	number := len(text) - len(strings.TrimLeft(text, "0123456789"))
	var b strings.Builder
	for i, r := range text {
		switch {
		case unicode.IsSpace(r):
			r = ' '
		case !unicode.IsPrint(r) && r != zeroWidthJoiner:
			r = unicode.ReplacementChar
		case strings.ContainsRune("\\`*_[]<>&~|", r), i == number && (strings.ContainsRune(".)", r) && number > 0 || strings.ContainsRune("#+-", r) && number == 0):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
