// Report is an agent: it reads the documents its turn declares and writes an
// index of them, with their titles and word counts, to out/report.md.
//
// It knows nothing of agenthost but what any program knows: the request is on
// stdin, the result goes to stdout, files are files.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type request struct {
	DeclaredInputs []struct {
		Path string `json:"path"`
	} `json:"declared_inputs"`
	Query struct {
		Title string `json:"title"`
	} `json:"query"`
}

type document struct {
	Path     string `json:"path"`
	Title    string `json:"title"`
	Words    int    `json:"words"`
	Sections int    `json:"sections"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run() error {
	var req request
	if err := json.NewDecoder(os.Stdin).Decode(&req); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	var documents []document
	words := 0
	for _, input := range req.DeclaredInputs {
		text, err := os.ReadFile(input.Path)
		if err != nil {
			return err
		}
		d := describe(input.Path, string(text))
		documents = append(documents, d)
		words += d.Words
		fmt.Fprintf(os.Stderr, "%s: %d words\n", d.Path, d.Words)
	}
	title := req.Query.Title
	if title == "" {
		title = "Documents"
	}
	if err := os.WriteFile("out/report.md", []byte(report(title, documents, words)), 0o644); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"documents": len(documents), "words": words, "report": "out/report.md",
	})
}

// describe counts the words of a Markdown document and finds its headings.
func describe(path, text string) document {
	d := document{Path: path, Title: path, Words: len(strings.Fields(text))}
	fenced := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
		case fenced:
		case strings.HasPrefix(line, "# ") && d.Title == path:
			d.Title = strings.TrimPrefix(line, "# ")
		case strings.HasPrefix(line, "## "):
			d.Sections++
		}
	}
	return d
}

func report(title string, documents []document, words int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%d documents, %d words.\n\n", title, len(documents), words)
	b.WriteString("| document | title | sections | words |\n|---|---|--:|--:|\n")
	for _, d := range documents {
		fmt.Fprintf(&b, "| [%s](%s) | %s | %d | %d |\n", d.Path, d.Path, strings.ReplaceAll(d.Title, "|", `\|`), d.Sections, d.Words)
	}
	return b.String()
}
