package main

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) packageListCommand() *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list the packages of the control plane",
		Description: `What is installed, by id and plane, with the first digits of the digest and who
signed it; then what is packed in packages_store and not installed.`,
		Action: p.inPlane(0, 0, p.packageList),
	}
}

// listedPackage is a package in package list --json. Its status is active, or
// stored if it is packed and not installed; the latter has no plane.
type listedPackage struct {
	ID        string      `json:"id"`
	Name      string      `json:"name,omitempty"`
	Version   string      `json:"version"`
	SpecID    string      `json:"spec_id,omitempty"`
	Tier      string      `json:"tier,omitempty"`
	Plane     string      `json:"plane,omitempty"`
	Status    string      `json:"status"`
	SHA256    ledger.Hash `json:"sha256"`
	Signer    string      `json:"signer,omitempty"` // a verifier key
	Installed time.Time   `json:"installed_at,omitzero"`
}

func (p *program) packageList(_ *cli.Context, pl controlled, _ []string) error {
	state := pl.State()
	rows := []listedPackage{}
	for _, i := range state.Installed {
		rows = append(rows, listedPackage{
			i.Package.ID, i.Name, i.Package.Version, i.SpecID, i.Tier, i.Plane, "active", i.Package.SHA256, i.Signer, i.At,
		})
	}
	for _, id := range slices.Sorted(maps.Keys(state.Stored)) {
		s := state.Stored[id]
		if !slices.ContainsFunc(state.Installed, func(i plane.Installed) bool { return i.Package == s.Package }) {
			rows = append(rows, listedPackage{ID: id, Version: s.Package.Version, Status: "stored", SHA256: s.Package.SHA256})
		}
	}
	if p.json {
		return p.term.value(map[string]any{"packages": rows})
	}
	table := [][]string{}
	for _, r := range rows {
		table = append(table, []string{r.ID, r.Version, dash(r.Tier), dash(r.Plane), r.Status, short(r.SHA256), signerText(r.Signer)})
	}
	p.term.table(table)
	if len(rows) == 0 {
		p.term.note("nothing is installed in %s", folderText(pl.root.Path()))
	}
	return nil
}

// dash stands for what a package does not say.
func dash(s string) string { return cmp.Or(s, "-") }

// signerText says who signed a package, by the name and hash of the verifier key:
// anybody can make a key of any name.
func signerText(key string) string {
	if key == "" {
		return "not signed"
	}
	return "signed by " + archive.KeyName(key)
}
