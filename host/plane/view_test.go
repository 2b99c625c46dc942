package plane

import (
	"encoding/csv"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

func TestRegistryCSV(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	installed := func(id, plane, name string) Installed {
		return Installed{At: at, PackageInstall: record.PackageInstall{
			Package: record.Package{ID: id, Version: "1.0.0", SHA256: ledger.Sum([]byte(id))}, Plane: plane, Name: name,
			SpecID: "SPEC-1", Tier: "T3", Signer: "alice+00000000+key",
		}}
	}
	header := "id,name,version,spec_id,tier,plane,status,sha256,signer,installed_at\r\n"
	if got := string(RegistryCSV(State{})); got != header {
		t.Errorf("got %q", got)
	}
	for name, field := range map[string]string{
		"plain": "plain", "with space": "with space", "a,b": `"a,b"`, `a"b`: `"a""b"`, `"`: `""""`, "a\nb": "\"a\nb\"", "a\r\nb": "\"a\r\nb\"",
		" a": `" a"`, "a ": `"a "`, "": "", "ümläut": "ümläut", "a;b\tc": "a;b\tc",
	} {
		i := installed("PKG-A", "ho1", name)
		got := string(RegistryCSV(State{Installed: []Installed{i}}))
		want := header + "PKG-A," + field + ",1.0.0,SPEC-1,T3,ho1,active," + i.Package.SHA256.String() + ",alice+00000000+key,2026-01-02T02:04:05Z\r\n"
		if got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		rows, err := csv.NewReader(strings.NewReader(got)).ReadAll()
		if err != nil || len(rows) != 2 || rows[1][1] != strings.ReplaceAll(name, "\r\n", "\n") {
			t.Errorf("%q: read %q, %v", name, rows, err)
		}
	}
	var s State
	for _, place := range [][2]string{{"PKG-B", "ho1"}, {"PKG-A", "ho3"}, {"PKG-A-1", "ho1"}, {"PKG-A", "ho1"}} {
		s = s.with(installed(place[0], place[1], ""))
	}
	rows, err := csv.NewReader(strings.NewReader(string(RegistryCSV(s)))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range rows[1:] {
		got = append(got, row[0]+" "+row[5])
	}
	if want := []string{"PKG-A ho1", "PKG-A ho3", "PKG-A-1 ho1", "PKG-B ho1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFormula(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "a": false, "1": false, "=1": true, "+1": true, "-1": true, "@A": true, "\tx": true, "\rx": true, "a=1": false, "ä": false,
		" =1": true, "\u00a0@a": true, "＝1": true, "＋": true, "－": true, "＠": true, " ": false, "\ufffd": false, "\u200b=1": true, "\ufeff =1": true, "\u202e\u00ad-1": true, "\u200bA": false, "\xff=": false,
	} {
		if got := formula(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
