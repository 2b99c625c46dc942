// Admin is an agent that explains the packages of a control plane: what each is,
// where it is installed, who installed it when, and what was refused. It reads the
// registry and the ledger of changes, which it was granted, and can write nothing.
//
// It believes what it reads: agenthost verify and integrity-check prove it. Where
// the registry and the ledger differ it says so.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	agent "github.com/agenthost/agenthost/guest-sdk/go"
)

func main() { agent.Main(admin) }

// query is what a request asks for. Without a query, or with an empty one, it is
// the list.
type query struct {
	Explain string `json:"explain"` // the id of a package
	List    bool   `json:"list"`    // all that are installed
}

// answer is the result. Beside Text is what was asked for, or what is not known.
type answer struct {
	Package  *explained  `json:"package,omitempty"`
	Packages []installed `json:"packages,omitzero"`
	Unknown  string      `json:"unknown,omitempty"` // an id nothing is known of
	Nearest  []string    `json:"nearest,omitempty"` // ids that are known, and like it
	Text     string      `json:"text"`              // all of it, for people
}

func admin(r *agent.Request) (any, error) {
	var q query
	if err := r.Decode(&q); err != nil {
		return nil, err
	}
	if q.Explain != "" && q.List {
		return nil, errors.New(`ask for one thing: {"explain": "PKG-…"} or {"list": true}`)
	}
	p, err := readPlane("registries/packages_registry.csv", "ledger/governance.jsonl")
	if err != nil {
		return nil, err
	}
	if q.Explain == "" {
		packages := append([]installed{}, p.installed...)
		return answer{Packages: packages, Text: listText(p)}, nil
	}
	e := p.explain(q.Explain)
	if e == nil {
		near := nearest(q.Explain, p.ids())
		return answer{Unknown: q.Explain, Nearest: near, Text: unknownText(q.Explain, near)}, nil
	}
	return answer{Package: e, Text: explainText(e)}, nil
}

// nearest are up to three of the ids that are most like one, the nearest first.
// One of which more than a third is other is not like it.
func nearest(id string, ids []string) []string {
	type candidate struct {
		id       string
		distance int
	}
	var list []candidate
	for _, known := range ids {
		if d := distance(id, known); 3*d <= min(max(len(id), len(known)), maxWord) {
			list = append(list, candidate{known, d})
		}
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
	var near []string
	for _, c := range list[:min(3, len(list))] {
		near = append(near, c.id)
	}
	return near
}

// maxWord is how much of an id is compared, in bytes: no real one is longer.
const maxWord = 128

// distance counts the letters to insert, remove or replace to make b of a. Of long
// words only the beginning counts.
func distance(a, b string) int {
	a, b = a[:min(len(a), maxWord)], b[:min(len(b), maxWord)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			before, row[j] = row[j], min(row[j]+1, row[j-1]+1, before+cost)
		}
	}
	return row[len(b)]
}

func unknownText(id string, near []string) string {
	text := fmt.Sprintf("Nothing is known here of %q.", id)
	switch len(near) {
	case 0:
		return text
	case 1:
		return text + " Did you mean " + near[0] + "?"
	}
	return text + " The nearest ids are " + join(near) + "."
}
