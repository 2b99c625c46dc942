package main

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// A plane is what registry and ledger say of a control plane.
type plane struct {
	installed []installed // rows of the registry
	changes   []change    // entries of the ledger, in order
	differ    []string    // in what the two do not agree
}

// installed is a row of the registry.
type installed struct {
	ID          string `json:"id"`
	Name        string `json:"name,omitempty"`
	Version     string `json:"version"`
	SpecID      string `json:"spec_id,omitempty"`
	Tier        string `json:"tier,omitempty"`
	Plane       string `json:"plane"`
	Status      string `json:"status"`
	SHA256      string `json:"sha256"`
	Signer      string `json:"signer,omitempty"`
	InstalledAt string `json:"installed_at"`
}

// change is an entry of governance.jsonl, with the members that are looked at. What
// others it has does not matter here.
type change struct {
	Seq     uint64      `json:"seq"`
	At      string      `json:"ts"`
	Kind    string      `json:"kind"`
	By      actor       `json:"by"`
	Package *pkg        `json:"package"`
	Plane   string      `json:"plane"`
	Depends []depending `json:"dependencies"`
	Files   int64       `json:"files"`
	Signer  string      `json:"signer"`
	Before  *pkg        `json:"replaces"`
	Gained  []string    `json:"gained"`
	Forced  bool        `json:"forced"`
	Rotated bool        `json:"rotated"`
	Stored  bool        `json:"stored"`
	Change  string      `json:"change"` // of one that was refused, and so on
	Subject string      `json:"subject"`
	Code    string      `json:"code"`
	Message string      `json:"message"`
}

type actor struct {
	UID  int64  `json:"uid"`
	User string `json:"user"`
}

type pkg struct {
	ID      string `json:"id"`
	Version string `json:"version"`
	SHA256  string `json:"sha256"`
}

type depending struct {
	ID      string `json:"id"`
	Version string `json:"version,omitempty"`
}

// Kinds of entries that are told of.
const (
	kindStore     = "package.store"
	kindInstall   = "package.install"
	kindUninstall = "package.uninstall"
	kindRefused   = "change.refused"
)

// readPlane reads both files. Without a registry there is nothing to explain.
func readPlane(registry, ledger string) (*plane, error) {
	p := &plane{}
	rows, err := readRegistry(registry)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not there, or was not granted: this agent runs in a control plane", registry)
	}
	if err != nil {
		return nil, err
	}
	p.installed = rows
	if p.changes, err = readLedger(ledger); err != nil {
		return nil, err
	}
	p.compare()
	return p, nil
}

func readRegistry(name string) ([]installed, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := csv.NewReader(f)
	header, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var rows []installed
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		field := func(column string) string {
			if i := slices.Index(header, column); i >= 0 {
				return row[i]
			}
			return ""
		}
		rows = append(rows, installed{
			field("id"), field("name"), field("version"), field("spec_id"), field("tier"), field("plane"),
			field("status"), field("sha256"), field("signer"), field("installed_at"),
		})
	}
}

func readLedger(name string) ([]change, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var changes []change
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 2<<20)
	for lines.Scan() {
		var c change
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, fmt.Errorf("%s line %d: %w", name, len(changes)+1, err)
		}
		changes = append(changes, c)
	}
	return changes, lines.Err()
}

// compare finds what registry and ledger do not agree in.
func (p *plane) compare() {
	type place struct{ id, plane string }
	active := map[place]pkg{}
	for _, c := range p.changes {
		switch {
		case c.Package == nil:
		case c.Kind == kindInstall:
			active[place{c.Package.ID, c.Plane}] = *c.Package
		case c.Kind == kindUninstall:
			delete(active, place{c.Package.ID, c.Plane})
		}
	}
	for _, i := range p.installed {
		at := place{i.ID, i.Plane}
		if known, ok := active[at]; !ok {
			p.differ = append(p.differ, fmt.Sprintf("%s is in the registry of %s, and the ledger says that it is not installed there", i.ID, i.Plane))
		} else if known.Version != i.Version || known.SHA256 != i.SHA256 {
			p.differ = append(p.differ, fmt.Sprintf("the registry has %s %s in %s, the ledger %s", i.ID, i.Version, i.Plane, known.Version))
		}
		delete(active, at)
	}
	for at := range active {
		p.differ = append(p.differ, fmt.Sprintf("the ledger has %s in %s, and the registry does not", at.id, at.plane))
	}
	slices.Sort(p.differ)
}

// ids are all packages that registry or ledger know, sorted.
func (p *plane) ids() []string {
	var ids []string
	for _, i := range p.installed {
		ids = append(ids, i.ID)
	}
	for _, c := range p.changes {
		if c.Package != nil {
			ids = append(ids, c.Package.ID)
		}
		if strings.HasPrefix(c.Subject, "PKG-") {
			ids = append(ids, c.Subject)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// explained is all that is known of one package.
type explained struct {
	ID        string      `json:"id"`
	Installed []installed `json:"installed"` // now, in each plane
	Needs     []depending `json:"needs"`     // as it is installed
	NeededBy  []string    `json:"needed_by"`
	History   []event     `json:"history"` // the earliest first
	Refused   []event     `json:"refused"` // changes that did not happen
	Differ    []string    `json:"differ"`  // where registry and ledger contradict each other
}

// event is a change, or one that was refused.
type event struct {
	Seq     uint64 `json:"seq"` // of the entry
	At      string `json:"at"`
	By      string `json:"by"`
	Change  string `json:"change"`
	Plane   string `json:"plane,omitempty"`
	Version string `json:"version,omitempty"`
	Code    string `json:"code,omitempty"`
	Text    string `json:"text"`
}

// explain gathers what is known of a package, or returns nil.
func (p *plane) explain(id string) *explained {
	e := &explained{ID: id, Installed: []installed{}, Needs: []depending{}, NeededBy: []string{}, History: []event{}, Refused: []event{}, Differ: []string{}}
	for _, i := range p.installed {
		if i.ID == id {
			e.Installed = append(e.Installed, i)
		}
	}
	latest := map[string]change{} // of the packages that are installed, by id and plane
	for _, c := range p.changes {
		if c.Kind == kindRefused && c.Subject == id {
			e.Refused = append(e.Refused, event{Seq: c.Seq, At: c.At, By: c.By.String(), Change: c.Change, Code: c.Code, Text: refusedText(c)})
		}
		if c.Package == nil {
			continue
		}
		switch key := c.Package.ID + " " + c.Plane; c.Kind {
		case kindInstall:
			latest[key] = c
		case kindUninstall:
			delete(latest, key)
		}
		if c.Package.ID == id {
			e.History = append(e.History, event{Seq: c.Seq, At: c.At, By: c.By.String(), Change: c.Kind, Plane: c.Plane, Version: c.Package.Version, Text: changeText(c)})
		}
	}
	for _, c := range latest {
		if c.Package.ID == id {
			e.Needs = append(e.Needs, c.Depends...)
		} else if slices.ContainsFunc(c.Depends, func(d depending) bool { return d.ID == id }) {
			e.NeededBy = append(e.NeededBy, c.Package.ID)
		}
	}
	slices.SortFunc(e.Needs, func(a, b depending) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.Version, b.Version))
	})
	e.Needs = slices.Compact(e.Needs)
	slices.Sort(e.NeededBy)
	e.NeededBy = slices.Compact(e.NeededBy)
	for _, d := range p.differ {
		if slices.Contains(strings.Fields(d), id) {
			e.Differ = append(e.Differ, d)
		}
	}
	if len(e.Installed)+len(e.History)+len(e.Refused) == 0 {
		return nil
	}
	return e
}
