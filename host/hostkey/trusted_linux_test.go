package hostkey

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/ledger"
)

// keysOf is a list as texts.
func keysOf(t *testing.T, dir string) []string {
	t.Helper()
	list, err := Trusted(dir)
	if err != nil {
		t.Fatal(said(err))
	}
	var keys []string
	for _, v := range list {
		keys = append(keys, v.String())
	}
	return keys
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestTrust: what is trusted is, once, in order, and what people wrote beside it
// stays.
func TestTrust(t *testing.T) {
	dir := newDir(t)
	a, b := newKey(t, Name).String(), newKey(t, Name).String()
	trust := func(key string, want bool) {
		t.Helper()
		if added, err := Trust(t.Context(), dir, key); err != nil || added != want {
			t.Errorf("trust: %t, %s, want %t", added, said(err), want)
		}
	}
	trust(a, true)
	trust(a, false)
	same(t, keysOf(t, dir), a)
	if got, want := listed(t, dir), "trusted_hosts -rw-------, trusted_hosts.lock -rw-------"; got != want {
		t.Errorf("there is %s, want %s", got, want)
	}
	own := load(t, dir)
	trust(b, true)
	same(t, keysOf(t, dir), own.String(), a, b)
	if _, err := Trust(t.Context(), dir, own.String()); !errors.Is(err, ErrOwn) {
		t.Errorf("its own: %v", err)
	}

	const list = "# those I know\n\n%s # the laptop\r\n\t%s\n%s\n# the end"
	write(t, dir+"/trusted_hosts", fmt.Sprintf(list, a, own, a), 0o600)
	same(t, keysOf(t, dir), own.String(), a)
	trust(a, false)
	trust(b, true)
	got, err := os.ReadFile(dir + "/trusted_hosts")
	if want := fmt.Sprintf(list, a, own, a) + "\n" + b + "\n"; err != nil || string(got) != want {
		t.Errorf("the list is %q, %v, want %q", got, err, want)
	}

	distrust := func(key, want string) {
		t.Helper()
		if removed, err := Distrust(t.Context(), dir, key); err != nil || removed.String() != want {
			t.Errorf("distrust: %s, %s, want %s", removed, said(err), want)
		}
	}
	distrust(newKey(t, Name).String(), "")
	distrust(Name, "")
	distrust("", "")
	v, err := ledger.ParseVerifier(a)
	if err != nil {
		t.Fatal(err)
	}
	distrust(shortName(v), a) // both lines
	same(t, keysOf(t, dir), own.String(), b)
	distrust(a, "")
	distrust(b, b)
	same(t, keysOf(t, dir), own.String())
	for _, name := range []string{own.String(), shortName(own.Verifier())} {
		if _, err := Distrust(t.Context(), dir, name); !errors.Is(err, ErrOwn) {
			t.Errorf("its own: %v", err)
		}
	}
	nowhere := newDir(t)
	if removed, err := Distrust(t.Context(), nowhere, a); err != nil || !removed.IsZero() {
		t.Errorf("of no list: %s, %v", removed, err)
	}
	if _, err := os.Stat(nowhere); err == nil {
		t.Error("removing made a folder")
	}
}

// twins are two verifier keys of the same name and hash, which anybody can make.
func twins(t *testing.T) (a, b string) {
	t.Helper()
	seen := map[uint32]uint64{}
	public := func(n uint64) []byte {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
		return append([]byte{1}, sum[:]...) // ed25519
	}
	for n := range uint64(1 << 20) {
		sum := sha256.Sum256(append([]byte(Name+"\n"), public(n)...))
		hash := binary.BigEndian.Uint32(sum[:])
		if m, ok := seen[hash]; ok {
			text := func(n uint64) string {
				return fmt.Sprintf("%s+%08x+%s", Name, hash, base64.StdEncoding.EncodeToString(public(n)))
			}
			return text(m), text(n)
		}
		seen[hash] = n
	}
	t.Fatal("there are none")
	return "", ""
}

// TestTrustRefused: what is no key of a host does not get into the list, and of two
// that are called the same only the first does.
func TestTrustRefused(t *testing.T) {
	dir := newDir(t)
	own := load(t, dir)
	a, b := twins(t)
	process := newKey(t, "agenthost/ho1/SES-1").String()
	const host = "\ngive what agenthost ledger key prints on that host"
	if added, err := Trust(t.Context(), dir, a); !added || err != nil {
		t.Fatal(said(err))
	}
	large := a[:len(Name)+1] + strings.ToUpper(a[len(Name)+1:len(Name)+9]) + a[len(Name)+9:]
	for key, want := range map[string]string{
		"":                        `verifier key "": want NAME+HASH+KEY, as ledger key prints it` + host,
		"garbage\x1b[2J":          `verifier key "garbage\x1b[2J": want NAME+HASH+KEY, as ledger key prints it` + host,
		a + "\n" + b:              fmt.Sprintf("verifier key %.120q: want NAME+HASH+KEY, as ledger key prints it", a+"\n"+b) + host,
		a[:len(a)-2]:              fmt.Sprintf("verifier key %q: want NAME+HASH+KEY, as ledger key prints it", a[:len(a)-2]) + host,
		own.Secret():              "it is a secret key, which nobody but its host should ever have" + host,
		" '" + own.Secret() + "'": "it is a secret key, which nobody but its host should ever have" + host,
		process:                   process[:len("agenthost/ho1/SES-1+12345678")] + " is not the key of a host: those are called agenthost/host" + host,
		large:                     fmt.Sprintf("verifier key %q: want NAME+HASH+KEY, as ledger key prints it", large) + host,
		a[:60] + "\n" + a[60:]:    fmt.Sprintf("verifier key %q: want NAME+HASH+KEY, as ledger key prints it", a[:60]+"\n"+a[60:]) + host,
		a + "\n":                  fmt.Sprintf("verifier key %q: want NAME+HASH+KEY, as ledger key prints it", a+"\n") + host,
		b:                         a[:len(Name)+9] + " is the name and hash of another key, " + a + "\none of the two was made to be taken for the other: ask both hosts, and trust neither before",
	} {
		if key == large && large == a {
			continue
		}
		added, err := Trust(t.Context(), dir, key)
		if added || said(err) != want {
			t.Errorf("%q:\ngot  %t, %s\nwant %s", key, added, said(err), want)
		}
	}
	same(t, keysOf(t, dir), own.String(), a)

	const fix = "\na line is a verifier key, as agenthost ledger key prints it, or begins with #: correct it or remove it"
	for text, want := range map[string]string{
		a + "\n# x\ngarbage\n":       `DIR/trusted_hosts line 3: verifier key "garbage": want NAME+HASH+KEY, as ledger key prints it` + fix,
		a + "\n" + own.Secret():      "DIR/trusted_hosts line 2: it is a secret key, which nobody but its host should ever have" + fix,
		process:                      "DIR/trusted_hosts line 1: " + process[:len("agenthost/ho1/SES-1+12345678")] + " is not the key of a host: those are called agenthost/host" + fix,
		a + " " + a:                  fmt.Sprintf("DIR/trusted_hosts line 1: verifier key %.120q: want NAME+HASH+KEY, as ledger key prints it", a+" "+a) + fix,
		a + "\n" + b:                 "DIR/trusted_hosts line 2: " + a[:len(Name)+9] + " is the name and hash of another key, " + a + fix,
		strings.Repeat("#", 1<<16+1): "DIR/trusted_hosts has more than the 65536 bytes the list of trusted hosts can have\nput the file that belongs there in its place",
	} {
		write(t, dir+"/trusted_hosts", text, 0o600)
		list, err := Trusted(dir)
		if got := strings.ReplaceAll(said(err), dir, "DIR"); list != nil || got != want {
			t.Errorf("%.100q:\ngot  %v, %s\nwant %s", text, list, got, want)
		}
	}
	write(t, dir+"/trusted_hosts", strings.Repeat("#", 1<<16-10), 0o600)
	_, err := Trust(t.Context(), dir, b)
	if got, want := strings.ReplaceAll(said(err), dir, "DIR"), "DIR/trusted_hosts would have more than 65536 bytes\nremove keys that are of no use any more"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestListRefused: the list is a file like the key's.
func TestListRefused(t *testing.T) {
	const fix = "\ntake that right away with chmod 600; if somebody may have written to it, look through what agenthost ledger trust lists"
	key := newKey(t, Name).String()
	for name, c := range map[string]struct {
		make func(file string) error
		want string
	}{
		"open":   {func(file string) error { return errors.Join(os.WriteFile(file, nil, 0o600), os.Chmod(file, 0o622)) }, "DIR/trusted_hosts, the list of trusted hosts, is open to others (mode 0622)" + fix},
		"a link": {func(file string) error { return os.Symlink("/dev/null", file) }, "DIR/trusted_hosts is a symbolic link\nput the file itself in its place"},
		"a FIFO": {func(file string) error { return syscall.Mkfifo(file, 0o600) }, "DIR/trusted_hosts is a FIFO, not a file\nmove it away"},
		"two": {func(file string) error {
			return errors.Join(os.WriteFile(file, nil, 0o600), os.Link(file, file+".2"))
		}, "DIR/trusted_hosts has 2 names (hard links), and who reads another one reads it\nfind -inum INO finds them; remove the others"},
	} {
		dir := newDir(t)
		file := dir + "/trusted_hosts"
		if err := errors.Join(os.MkdirAll(dir, 0o700), c.make(file)); err != nil {
			t.Fatal(err)
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(file, &st); err != nil {
			t.Fatal(err)
		}
		want := strings.ReplaceAll(c.want, "INO", fmt.Sprint(st.Ino))
		before := describe(t, filepath.Dir(dir))
		_, listErr := Trusted(dir)
		_, trustErr := Trust(t.Context(), dir, key)
		for _, err := range []error{listErr, trustErr} {
			if got := strings.ReplaceAll(said(err), dir, "DIR"); got != want {
				t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
			}
		}
		if err := os.Remove(dir + "/trusted_hosts.lock"); err != nil {
			t.Error(err)
		}
		if after := describe(t, filepath.Dir(dir)); after != before {
			t.Errorf("%s: it was changed:\n%s\n%s", name, before, after)
		}
	}
}

// TestTrustAtOnce: of processes that change the list at once no one's change is
// lost, also where one before was killed half way.
func TestTrustAtOnce(t *testing.T) {
	dir := newDir(t)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/.new-trusted_hosts", "half a li", 0o600)
	const n = 16
	var wg sync.WaitGroup
	want := map[string]bool{}
	for i := range n {
		key := newKey(t, Name).String()
		want[key] = true
		wg.Go(func() {
			if i%2 == 0 {
				if added, err := Trust(t.Context(), dir, key); !added || err != nil {
					t.Errorf("trust: %s", said(err))
				}
			} else if out, err := child("trust="+key, dir).CombinedOutput(); err != nil {
				t.Errorf("trust: %v, %s", err, out)
			}
		})
	}
	wg.Wait()
	got := keysOf(t, dir)
	for _, key := range got {
		delete(want, key)
	}
	if len(got) != n || len(want) != 0 {
		t.Errorf("%d keys are trusted, %d are not", len(got), len(want))
	}
}

// TestTrustWaits: who changes the list waits for who does, and for no longer than
// it is let.
func TestTrustWaits(t *testing.T) {
	dir := newDir(t)
	key := newKey(t, Name).String()
	if _, err := Trust(t.Context(), dir, key); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(dir + "/trusted_hosts.lock")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := beneath.Lock(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Distrust(ctx, dir, key); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	same(t, keysOf(t, dir), key) // who only reads does not wait
}
