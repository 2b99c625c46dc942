package plane

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/agenthost/agenthost/host/internal/durable"
)

const (
	registryFile = "registries/packages_registry.csv"
	trustedFile  = "control/trusted_keys"
	maxView      = 256 << 20 // bytes that are read of a file that follows from the ledger
)

// views are the files that follow from governance.jsonl alone and hold nothing
// else: they are there for people and agents, and are never believed.
var views = []struct {
	name string
	of   func(State) []byte
}{
	{registryFile, RegistryCSV},
	{trustedFile, trustedKeys},
}

// trustedKeys is the content of control/trusted_keys: the verifier keys that
// count, one a line, sorted by bytes.
func trustedKeys(s State) []byte {
	var b bytes.Buffer
	for _, key := range s.Trusted {
		b.WriteString(key + "\n")
	}
	return b.Bytes()
}

// RegistryCSV is the content of registries/packages_registry.csv: RFC 4180, with
// CRLF, a header, and a row for each package of each plane, sorted by id, then by
// plane. A field is quoted where it has to be.
func RegistryCSV(s State) []byte {
	var b bytes.Buffer
	b.Grow(128 + 256*len(s.Installed))
	row(&b, "id", "name", "version", "spec_id", "tier", "plane", "status", "sha256", "signer", "installed_at")
	for _, i := range s.Installed {
		row(&b, i.Package.ID, i.Name, i.Package.Version, i.SpecID, i.Tier, i.Plane, "active",
			i.Package.SHA256.String(), i.Signer, i.At.UTC().Format(time.RFC3339))
	}
	return b.Bytes()
}

// row writes a record of RFC 4180. Package encoding/csv would change line ends
// within a field.
func row(b *bytes.Buffer, fields ...string) {
	for n, field := range fields {
		if n > 0 {
			b.WriteByte(',')
		}
		if strings.ContainsAny(field, "\",\r\n") || strings.HasPrefix(field, " ") || strings.HasSuffix(field, " ") {
			field = `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
		}
		b.WriteString(field)
	}
	b.WriteString("\r\n")
}

// formula reports whether a spreadsheet would take a field for a formula: quoting
// does not keep it from that. Some look past spaces and what is not seen at all, and
// some take the wide forms of East Asian typography for the same.
func formula(field string) bool {
	first, _ := utf8.DecodeRuneInString(strings.TrimLeftFunc(field, func(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) }))
	return strings.ContainsRune("=+-@\uff1d\uff0b\uff0d\uff20", first) || strings.HasPrefix(field, "\t") || strings.HasPrefix(field, "\r")
}

// A seen is a view as it was made last: making the registry of a thousand packages
// takes longer than the rest of a change.
type seen struct {
	size    uint64 // of the ledger then
	content []byte
}

// view is the content of the n-th view at a state.
func (c *Change) view(n int, s State) []byte {
	if c.seen == nil {
		c.seen = make([]seen, len(views))
	}
	if c.seen[n].content == nil || c.seen[n].size != s.Head.Size {
		c.seen[n] = seen{s.Head.Size, append([]byte{}, views[n].of(s)...)}
	}
	return c.seen[n].content
}

// checkViews finds the first view that is not what the state says.
func (c *Change) checkViews() error {
	for n, v := range views {
		content, err := durable.Read(c.plane.dir, v.name, maxView)
		hint := "agenthost control rebuild-registry writes it anew; what was changed by hand is lost"
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return &MismatchError{v.name, "is missing", hint}
		case errors.Is(err, durable.ErrNotPlain):
			return &MismatchError{v.name, "is not the file that was written", hint}
		case err != nil:
			return err
		case !bytes.Equal(content, c.view(n, c.now)):
			return &MismatchError{v.name, "is not what " + governancePath + " says: it was changed by hand", hint}
		}
	}
	return nil
}
