package plane

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/record"
)

// need is a dependency.
func need(id, version string) []archive.Dependency {
	return []archive.Dependency{{ID: id, Version: version}}
}

// refusal is the code and the text of a refused change, which was recorded as the
// last entry.
func (f *fixture) refusal(err error) string {
	f.t.Helper()
	var rule *RefusedError
	var wrong *MismatchError
	var text, code, message string
	switch {
	case errors.As(err, &rule):
		code, message = rule.Code, rule.What
		text = rule.Code + ": " + rule.What + "; " + rule.Hint
	case errors.As(err, &wrong):
		code, message = CodeIntegrity, wrong.Error()
		text = "integrity: " + wrong.Error() + "; " + wrong.Hint
	default:
		f.t.Fatalf("not refused: %v", err)
	}
	last, _ := f.last().(record.ChangeRefused)
	if last.Code != code || last.Message != message || last.By != somebody() {
		f.t.Errorf("recorded %+v, want %s", last, text)
	}
	return text
}

// refused tries to install a package and says why it is not.
func (f *fixture) refused(s spec, o InstallOptions) string {
	f.t.Helper()
	p := prepare(f.t, "", s)
	before := tree(f.t, f.path)
	var text string
	f.change(func(c *Change) {
		err := p.install(c, o)
		if err == nil {
			f.t.Fatalf("%+v was installed with %+v", s, o)
		}
		text = f.refusal(err)
	})
	differ(f.t, text, tree(f.t, f.path), before)
	return text
}

// uninstall takes a package out and says why not, if it is refused.
func (f *fixture) uninstall(id, plane string) string {
	f.t.Helper()
	var text string
	f.change(func(c *Change) {
		if _, err := c.Uninstall(id, plane, false); err != nil {
			text = f.refusal(err)
		}
	})
	return text
}

// want compares what an act said.
func want(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTiers(t *testing.T) {
	f := newFixture(t)
	law := spec{id: "PKG-T1-LAW-001", tier: "T1"}
	want(t, f.refused(law, InstallOptions{Plane: "ho1"}),
		"tier: PKG-T1-LAW-001 is of tier T1, which is in ho3 before it is in ho1; install it with --plane ho3 first")
	inLower := law
	inLower.plane = "ho2" // the manifest's, which is no way around the rule
	want(t, f.refused(inLower, InstallOptions{}),
		"tier: PKG-T1-LAW-001 is of tier T1, which is in ho3 before it is in ho2; install it with --plane ho3 first")
	if out := f.install(law, InstallOptions{}); out.Installed.Plane != "ho3" {
		t.Errorf("installed in %s", out.Installed.Plane)
	}
	other := law
	other.files = map[string]string{"another": "content"}
	want(t, f.refused(other, InstallOptions{Plane: "ho1"}),
		"tier: PKG-T1-LAW-001 is of tier T1, and ho3 has 1.0.0 of it with another digest; install this one with --plane ho3 first")
	other.tier = "T3" // what it calls itself is no way around the rule either
	want(t, f.refused(other, InstallOptions{Plane: "ho1"}),
		"tier: PKG-T1-LAW-001 is of tier T1 in ho3, which has 1.0.0 of it with another digest; install this one with --plane ho3 first")
	f.install(law, InstallOptions{Plane: "ho1"})
	f.install(law, InstallOptions{Plane: "ho2"})
	want(t, f.uninstall(law.id, "ho3"),
		"tier: PKG-T1-LAW-001 is of tier T1 and still in ho1, which has it only because ho3 has; take it out of ho1 first, or leave --plane away to take it out of all")
	want(t, f.uninstall(law.id, "ho1"), "")
	want(t, f.uninstall(law.id, ""), "")
	want(t, f.uninstall(law.id, ""), "not_installed: PKG-T1-LAW-001 is not installed; agenthost package list shows what is")

	for tier, plane := range map[string]string{"": "ho1", "T3": "ho1", "T0": "ho3", "T2": "ho3"} {
		if got := PlaneOf(archive.Manifest{Tier: tier}, ""); got != plane {
			t.Errorf("tier %q: %s, want %s", tier, got, plane)
		}
		if got := PlaneOf(archive.Manifest{Tier: tier, Plane: "ho2"}, ""); got != "ho2" {
			t.Errorf("tier %q with a plane: %s", tier, got)
		}
	}
	want(t, f.refused(spec{id: "PKG-T3-A-001"}, InstallOptions{Plane: "../ho1"}), `package: "../ho1" is not a plane; want ho1, ho2, ho3`)
	want(t, f.uninstall("PKG-T3-A-001", "ho4"), `not_installed: "ho4" is not a plane; want ho1, ho2, ho3`)
	want(t, f.uninstall("../../x", ""), `not_installed: "../../x" is not an id; say PKG- and up to 100 letters, digits and hyphens; `)
}

func TestDependencies(t *testing.T) {
	f := newFixture(t)
	lib := spec{id: "PKG-T3-LIB-001", version: "1.2.0"}
	user := spec{id: "PKG-T3-USER-001", needs: need(lib.id, ">=1.0.0, <2.0.0")}
	want(t, f.refused(user, InstallOptions{}),
		"dependency: PKG-T3-USER-001 needs PKG-T3-LIB-001 >=1.0.0, <2.0.0, which is not installed in ho1 or ho2 or ho3; install PKG-T3-LIB-001 first")
	f.install(lib, InstallOptions{})
	want(t, f.refused(user, InstallOptions{Plane: "ho2"}),
		"dependency: PKG-T3-USER-001 needs PKG-T3-LIB-001 >=1.0.0, <2.0.0, which is not installed in ho2 or ho3; ho1 has it, but a package gets what it needs from its own plane or one above; install PKG-T3-LIB-001 first")
	late := user
	late.needs = need(lib.id, ">=1.3.0")
	want(t, f.refused(late, InstallOptions{}),
		"dependency: PKG-T3-USER-001 needs PKG-T3-LIB-001 >=1.3.0, but ho1 has 1.2.0; install a version of PKG-T3-LIB-001 that will do first")
	f.install(user, InstallOptions{})
	want(t, f.uninstall(lib.id, ""), "dependents: PKG-T3-LIB-001 is needed by PKG-T3-USER-001 in ho1; take those out first")

	// A version out of the range of what depends on it, and one that hides another.
	next := lib
	next.version = "2.0.0"
	want(t, f.refused(next, InstallOptions{}),
		"dependents: PKG-T3-LIB-001 2.0.0 will not do for what depends on it: PKG-T3-USER-001 in ho1 needs PKG-T3-LIB-001 >=1.0.0, <2.0.0; install versions of them that take it first, or another version of it")
	f.install(next, InstallOptions{Plane: "ho3"}) // is not what ho1 gets
	f.install(spec{id: "PKG-T3-HIGH-001", needs: need(lib.id, ">=2.0.0")}, InstallOptions{Plane: "ho2"})
	hiding := lib
	hiding.version = "1.9.0"
	want(t, f.refused(hiding, InstallOptions{Plane: "ho2"}),
		"dependents: PKG-T3-LIB-001 1.9.0 will not do for what depends on it: PKG-T3-HIGH-001 in ho2 needs PKG-T3-LIB-001 >=2.0.0; install versions of them that take it first, or another version of it")

	// Packages that need one another.
	f.install(spec{id: "PKG-A"}, InstallOptions{})
	f.install(spec{id: "PKG-B", needs: need("PKG-A", "")}, InstallOptions{})
	f.install(spec{id: "PKG-C", needs: need("PKG-B", "")}, InstallOptions{})
	round := spec{id: "PKG-A", version: "1.1.0", needs: need("PKG-C", "")}
	want(t, f.refused(round, InstallOptions{}),
		"dependency: packages would depend on themselves: PKG-A needs PKG-C needs PKG-B needs PKG-A; take one of the dependencies out of its manifest")
	// In a plane above there is no such round: it does not reach down.
	want(t, f.refused(round, InstallOptions{Plane: "ho2"}),
		"dependency: PKG-A needs PKG-C, which is not installed in ho2 or ho3; ho1 has it, but a package gets what it needs from its own plane or one above; install PKG-C first")

	for _, id := range []string{"PKG-C", "PKG-B", "PKG-A"} {
		want(t, f.uninstall(id, ""), "")
	}
	want(t, f.uninstall(lib.id, "ho3"), "dependents: PKG-T3-LIB-001 is needed by PKG-T3-HIGH-001 in ho2; take those out first")
	want(t, f.uninstall(user.id, ""), "")
	want(t, f.uninstall(lib.id, "ho1"), "")
	want(t, f.uninstall(lib.id, "ho1"), "not_installed: PKG-T3-LIB-001 is not installed in ho1, but in ho3; name that plane")
}

func TestUpgrades(t *testing.T) {
	f := newFixture(t)
	s := spec{id: "PKG-T3-A-001", read: []string{"docs/*"}}
	f.install(s, InstallOptions{})
	more := s
	more.version, more.read = "1.1.0", []string{"docs/*", "secret/*"}
	p := prepare(t, "", more)
	digits := strings.TrimPrefix(p.pkg.Digest.String(), "sha256:")
	for _, accept := range []string{"", digits[:11], "sha256:", "000000000000", "sha256:" + digits[:11], digits + "0"} {
		got := f.refused(more, InstallOptions{Accept: accept})
		if !strings.HasPrefix(got, "not_accepted: PKG-T3-A-001 1.1.0 has rights that 1.0.0 has not: ") || !strings.Contains(got, "secret/*") ||
			!strings.HasSuffix(got, "; read them all with agenthost package diff PKG-T3-A-001 ARCHIVE, then accept them with --accept "+digits[:12]) {
			t.Errorf("got %s", got)
		}
	}
	out := f.install(more, InstallOptions{Accept: strings.ToUpper(digits[:12])})
	if len(out.Installed.Gained) == 0 || out.Installed.Forced || out.Installed.Replaces == nil || out.Installed.Replaces.Version != "1.0.0" {
		t.Errorf("got %+v", out.Installed)
	}
	want(t, f.refused(s, InstallOptions{}), "downgrade: PKG-T3-A-001 1.1.0 is there, which is later than 1.0.0; --force installs an earlier version, and is recorded")
	if out := f.install(s, InstallOptions{Force: true}); !out.Installed.Forced || len(out.Installed.Gained) > 0 || !slices.ContainsFunc(out.Difference.Lost, func(r string) bool { return strings.Contains(r, "secret/*") }) {
		t.Errorf("got %+v", out)
	}
	// Another package of the same version is no downgrade.
	same := s
	same.files = map[string]string{"x": "y"}
	if out := f.install(same, InstallOptions{}); out.Same || out.Installed.Forced {
		t.Errorf("got %+v", out)
	}
	// What cannot be compared any more has gained all it can.
	write(t, filepath.Join(f.path, "planes/ho1/installed/PKG-T3-A-001/manifest.json"), "{}")
	same.version = "1.2.0"
	if got := f.refused(same, InstallOptions{}); !strings.Contains(got, "docs/*") {
		t.Errorf("got %s", got)
	}
	// The package itself, once more, restores it.
	same.version = "1.0.0"
	if out := f.install(same, InstallOptions{}); out.Same || out.Installed.Replaces == nil {
		t.Errorf("got %+v", out)
	}

	want(t, f.refused(s, InstallOptions{ID: "PKG-T3-B-001"}), "package: the archive holds PKG-T3-A-001, not PKG-T3-B-001; give the id of the package in it, or another archive")
	want(t, f.refused(spec{id: "PKG-t3-a-001"}, InstallOptions{}), "package: PKG-t3-a-001 differs from PKG-T3-A-001, which is installed, only in the case of its letters; give it another id")
	for _, name := range []string{"=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)"} {
		got := f.refused(spec{id: "PKG-NAME", name: name}, InstallOptions{})
		if !strings.HasPrefix(got, "package: its name ") || !strings.HasSuffix(got, " begins as a formula does, and the registry is opened in spreadsheets; let the name begin with a letter or a digit") {
			t.Errorf("got %s", got)
		}
	}
}

func TestSigners(t *testing.T) {
	f := newFixture(t)
	aliceKey, alice := newKey(t, "alice")
	bobKey, bob := newKey(t, "bob")
	s := spec{id: "PKG-T3-A-001"}
	signed, plain := prepare(t, aliceKey, s), prepare(t, "", s)
	try := func(p parcel, o InstallOptions) (text string) {
		t.Helper()
		f.change(func(c *Change) {
			if err := p.install(c, o); err != nil {
				text = f.refusal(err)
			}
		})
		return text
	}
	want(t, try(plain, InstallOptions{RequireSignature: true}),
		"not_trusted: the policy wants what is installed in ho1 signed, and PKG-T3-A-001 is not; get its signature, the file ARCHIVE.sig")
	if got := try(signed, InstallOptions{}); !strings.HasPrefix(got, "signer_unknown: the signature of PKG-T3-A-001: none of the keys that count here gave it, but "+archive.KeyName(alice)+"; ") {
		t.Errorf("got %s", got)
	}
	f.change(func(c *Change) {
		for _, key := range []string{alice, bob} {
			if made, err := c.Trust(key); !made || err != nil {
				t.Error(made, err)
			}
			if made, err := c.Trust(key); made || err != nil {
				t.Error("twice:", made, err)
			}
		}
		_, err := c.Trust("nonsense")
		want(t, f.refusal(err), "not_trusted: it is not a verifier key, NAME+HASH+KEY; agenthost package keygen prints one")
		_, err = c.Trust(aliceKey)
		f.refusal(err)
		// Two keys that people cannot tell apart.
		honest := c.now.Trusted
		c.now.Trusted = []string{archive.KeyName(alice) + "+another"}
		c.seen = []seen{{c.now.Head.Size, RegistryCSV(c.now)}, {c.now.Head.Size, trustedKeys(State{Trusted: honest})}}
		_, err = c.Trust(alice)
		want(t, f.refusal(err), "not_trusted: another key is trusted that has the same name and hash, "+archive.KeyName(alice)+"; find out whose this one is: nobody makes two such keys by chance")
		c.now.Trusted = honest
	})
	for _, file := range []string{governancePath, trustedFile} {
		if b, err := os.ReadFile(filepath.Join(f.path, file)); err != nil || strings.Contains(string(b), "PRIVATE") {
			t.Errorf("%s holds a signing key (%v)", file, err)
		}
	}
	keys := []string{alice, bob}
	slices.Sort(keys)
	if b, err := os.ReadFile(filepath.Join(f.path, trustedFile)); string(b) != keys[0]+"\n"+keys[1]+"\n" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	broken := signed
	broken.signature = []byte(strings.Replace(string(signed.signature), "1.0.0", "1.0.1", 1))
	if got := try(broken, InstallOptions{}); !strings.HasPrefix(got, "not_trusted: the signature of PKG-T3-A-001: that of alice+") {
		t.Errorf("got %s", got)
	}

	// Unsigned, then signed: the same package, but now it is known whose it is.
	want(t, try(plain, InstallOptions{}), "")
	want(t, try(signed, InstallOptions{RequireSignature: true}), "")
	p := f.open()
	i := p.State().Find(s.id, "ho1")[0]
	if i.Signer != alice || i.Signature != string(signed.signature) || i.Rotated {
		t.Errorf("got %+v", i)
	}
	if b, err := os.ReadFile(filepath.Join(f.path, signatureName(s.id))); string(b) != string(signed.signature) || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	if csv := string(RegistryCSV(p.State())); !strings.Contains(csv, ","+alice+",") {
		t.Errorf("got %s", csv)
	}

	// From then on it is hers, also after it was taken out.
	want(t, f.uninstall(s.id, ""), "")
	want(t, try(plain, InstallOptions{}), "not_trusted: PKG-T3-A-001 was installed signed by "+archive.KeyName(alice)+", and this one is not signed; get its signature, the file ARCHIVE.sig")
	bobs := prepare(t, bobKey, s)
	rotate := "not_trusted: PKG-T3-A-001 was installed signed by " + archive.KeyName(alice) + ", and this one is signed by " + archive.KeyName(bob) +
		"; if that is as it should be, say so with --rotate-signer " + archive.KeyName(bob)
	want(t, try(bobs, InstallOptions{}), rotate)
	want(t, try(bobs, InstallOptions{RotateSigner: archive.KeyName(alice)}), rotate)
	both := signed
	var err error
	if both.signature, err = archive.Cosign(signed.pkg, bobs.signature, aliceKey); err != nil {
		t.Fatal(err)
	}
	want(t, try(both, InstallOptions{}), "") // one of the two is hers
	want(t, try(bobs, InstallOptions{RotateSigner: archive.KeyName(bob)}), "")
	p = f.open()
	i = p.State().Find(s.id, "ho1")[0]
	if i.Signer != bob || !i.Rotated || p.State().Signers[s.id] != bob {
		t.Errorf("got %+v", i)
	}
	pkg, err := p.Package(nil, i)
	if err != nil {
		t.Fatal(err)
	}
	pkg.Close()

	// A key that is not trusted any more counts neither at installation nor later.
	f.change(func(c *Change) {
		if gone, err := c.Distrust(archive.KeyName(bob)); !gone || err != nil {
			t.Error(gone, err)
		}
		if gone, err := c.Distrust(bob); gone || err != nil {
			t.Error("twice:", gone, err)
		}
	})
	p = f.open()
	var r *RefusedError
	if _, err := p.Package(nil, i); !errors.As(err, &r) || r.Code != CodeNotTrusted || r.What != "PKG-T3-A-001 is signed by "+archive.KeyName(bob)+", who is not trusted any more" {
		t.Errorf("got %v", err)
	}
	if got := try(bobs, InstallOptions{}); !strings.HasPrefix(got, "signer_unknown: ") {
		t.Errorf("got %s", got)
	}
	want(t, try(signed, InstallOptions{RotateSigner: alice}), "")
}

// A signature is checked again whenever the package is read.
func TestSignatureOfEntry(t *testing.T) {
	f := newFixture(t)
	key, alice := newKey(t, "alice")
	signed := prepare(t, key, spec{id: "PKG-A"})
	f.change(func(c *Change) {
		if _, err := c.Trust(alice); err != nil {
			t.Fatal(err)
		}
		if err := signed.install(c, InstallOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	p := f.open()
	i := p.State().Find("PKG-A", "ho1")[0]
	i.Signature = strings.Replace(i.Signature, "PKG-A", "PKG-B", 1)
	if pkg, err := p.Package(nil, i); err == nil {
		pkg.Close()
		t.Error("a signature of something else was taken")
	}
}
