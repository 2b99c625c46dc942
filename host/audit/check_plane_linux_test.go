package audit

import (
	"os"
	"strings"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// planeSpoilings are those of control planes.
func planeSpoilings() []spoiling {
	const at = "planes/ho1/installed/" + tool
	// as makes another entry of the installed tool.
	as := func(f *fixture, change func(*record.PackageInstall)) {
		i := f.installed(tool)
		change(&i)
		f.govern(i)
	}
	needs := func(id, version string) []record.Dependency { return []record.Dependency{{ID: id, Version: version}} }
	return []spoiling{
		{name: "the ledger of the plane is gone", do: func(f *fixture) { f.remove("ledger/governance.jsonl") }},
		{name: "the folder of the ledger is gone", do: func(f *fixture) { f.remove("ledger") }},
		{name: "the ledger of the plane is empty", do: func(f *fixture) { f.write("ledger/governance.jsonl", "") }},
		{name: "a line of the ledger is changed", do: func(f *fixture) { f.swap("ledger/governance.jsonl", `"ho1"`, `"ho2"`) }},
		{name: "the end of the ledger is cut", do: func(f *fixture) {
			b := f.read("ledger/governance.jsonl")
			f.write("ledger/governance.jsonl", string(b[:len(b)-10]))
		}},
		{name: "control is changed", do: func(f *fixture) {
			f.write("control/token", "sha256:"+strings.Repeat("0", 64)+"\n")
			f.write("control/trusted_keys", "")
			f.write("control/policy.json", `{"schema": "agenthost/policy/v1", "withold": []}`)
		}},
		{name: "control is gone", do: func(f *fixture) { f.remove("control") }},
		{name: "the registry is changed", do: func(f *fixture) { f.swap(registryPath, "active", "retired") }},
		{name: "the registry is gone", do: func(f *fixture) { f.remove("registries") }},

		{name: "archives", do: func(f *fixture) {
			f.swap("packages_store/"+tool+".tar.gz", "\x1f", "\x1e")
			f.remove("packages_store/" + kept + ".tar.gz")
			f.write("packages_store/"+lib+".tar.gz.sig", "no signature")
		}},
		{name: "the files of a package", do: func(f *fixture) {
			f.write(at+"/a.txt", "another")
			f.remove(at + "/docs/b.txt")
			f.write(at+"/docs/c.txt", "")
			f.write(at+"/.agenthost/x", "what packing leaves out")
			f.mkdir(at + "/empty")
			ok(f.t, os.Link(f.abs(at+"/manifest.json"), f.abs("elsewhere")))
		}},
		{name: "a file of a package, and the archive is gone", do: func(f *fixture) {
			f.remove("packages_store/" + tool + ".tar.gz")
			f.write(at+"/a.txt", "another")
		}},
		{name: "extra files alone", do: func(f *fixture) { f.write(at+"/.agenthost/x", "what packing leaves out") }},
		{name: "a manifest that is spelled otherwise", do: func(f *fixture) { f.swap(at+"/manifest.json", "{", "{ ") }},
		{name: "a manifest that says something else", do: func(f *fixture) { f.swap(at+"/manifest.json", "1.1.0", "1.2.0") }},
		{name: "a manifest and the archive is gone", do: func(f *fixture) {
			f.remove("packages_store/" + tool + ".tar.gz")
			f.swap(at+"/manifest.json", "1.1.0", "1.2.0")
		}},
		{name: "a manifest that is none, and the archive is gone", do: func(f *fixture) {
			f.remove("packages_store/" + tool + ".tar.gz")
			f.write(at+"/manifest.json", "{")
		}},
		{name: "a package is gone", do: func(f *fixture) { f.remove(at) }},
		{name: "links in a package", do: func(f *fixture) {
			f.link(at + "/a.txt")
			f.link(at + "/docs")
			f.fifo("planes/ho3/installed/" + lib + "/a.txt")
		}},
		{name: "a package is a link", do: func(f *fixture) { f.link(at) }},
		{name: "the folder of packages is a link", do: func(f *fixture) { f.link("planes/ho1/installed") }},

		{name: "a dependency is missing", do: func(f *fixture) {
			as(f, func(i *record.PackageInstall) {
				i.Dependencies = append(needs("PKG-T0-NONE-001", ">=1.0.0"), needs("PKG-T0-NONE-002", "")...)
			})
		}},
		{name: "a dependency is out of range", do: func(f *fixture) {
			as(f, func(i *record.PackageInstall) { i.Dependencies = needs(lib, ">=2.0.0") })
		}},
		{name: "dependencies in a ring", do: func(f *fixture) {
			l := f.installed(lib)
			l.Plane, l.Dependencies = "ho1", needs(tool, "")
			f.govern(l)
			ok(f.t, os.CopyFS(f.abs("planes/ho1/installed/"+lib), os.DirFS(f.abs("planes/ho3/installed/"+lib))))
		}},
		{name: "signatures", do: func(f *fixture) {
			as(f, func(i *record.PackageInstall) {
				_, i.Signer = key(f.t, "alice")
				i.Signature = "not a signature"
			})
		}},
		{name: "signers", do: func(f *fixture) {
			as(f, func(i *record.PackageInstall) { f.sign(i) })
		}},
		{name: "work orders and claims", do: func(f *fixture) {
			f.write(ordersTop+"/WO-1.json", `{"schema": "agenthost/work_order/v1", "id": "WO-2", "packages": ["`+tool+`"]}`)
			f.write(ordersTop+"/WO-3.json", `{"schema": "agenthost/work_order/v1", "id": "WO-3"}`)
			f.write(ordersTop+"/wo-1.json", "")
			f.fifo(ordersTop + "/WO-4.json")
			f.append(claimsTop+"/WO-2.jsonl", record.WorkOrderOptions("WO-2"), record.WorkOrderTurn{WorkOrder: "WO-1", SessionID: sesTwo, TurnNumber: 1})
			f.remove(claimsTop + "/WO-1.jsonl")
			f.write(claimsTop+"/WO-1.jsonl.torn-9", "")
			f.write(claimsTop+"/WO-2.jsonl.torn-9", "")
			f.write(claimsTop+"/WO-2.jsonlx", "")
			f.write(claimsTop+"/.new-1", "")
			f.write(ledgersTop+"/Context.jsonl", "")
			f.write(ledgersTop+"/context.jsonl.torn-9", "")
		}},
		{name: "claims that were changed", do: func(f *fixture) { f.swap(claimsTop+"/WO-1.jsonl", sesTwo, sesOne) }},
		{name: "a claim that was cut", do: func(f *fixture) {
			b := f.read(claimsTop + "/WO-1.jsonl")
			f.write(claimsTop+"/WO-1.jsonl", string(b[:len(b)-9]))
		}},
		{name: "snapshots", do: func(f *fixture) {
			f.write(snapshotsTop+"/"+sesOne+"/11.json", "another")
			f.write(snapshotsTop+"/"+sesOne+"/12.json", "")
			f.write(snapshotsTop+"/"+sesOne+"/011.json", "")
			f.write(snapshotsTop+"/"+sesOne+"/.new-11.json", "")
			f.write(snapshotsTop+"/x", "")
			f.append(ledgersTop+"/context.jsonl", record.ContextOptions(), record.ContextSnapshot{SessionID: "SES-20260101-none", Plane: "ho1", Size: 1})
			f.mkdir(snapshotsTop + "/SES-20260101-none")
		}},
		{name: "a snapshot is gone", do: func(f *fixture) { f.remove(snapshotsTop) }},
		{name: "a record that was longer, and one that was another, when snapshots were kept", do: func(f *fixture) {
			f.append(ledgersTop+"/context.jsonl", record.ContextOptions(), record.ContextSnapshot{SessionID: sesTwo, Plane: "ho1", Size: 100},
				record.ContextSnapshot{SessionID: sesOpen, Plane: "ho1", Size: 2})
			f.write(snapshotsTop+"/"+sesTwo+"/100.json", "")
			f.write(snapshotsTop+"/"+sesOpen+"/2.json", "")
		}},
		{name: "a snapshot of what never was", do: func(f *fixture) {
			const name = snapshotsTop + "/" + sesOne + "/11.json"
			forged := strings.Replace(string(f.read(name)), `"status":"ok"`, `"status":"no"`, 1)
			ok(f.t, os.WriteFile(f.abs(name), []byte(forged), 0o600))
			var kept record.ContextSnapshot
			for e, err := range ledger.Read(f.abs(ledgersTop + "/context.jsonl")) {
				ok(f.t, err)
				if e.Kind == record.KindContextSnapshot {
					ok(f.t, e.Decode(&kept))
				}
			}
			kept.SHA256, kept.Bytes = ledger.Sum([]byte(forged)), int64(len(forged))
			f.append(ledgersTop+"/context.jsonl", record.ContextOptions(), kept)
		}},
		{name: "the ledger of snapshots is changed", do: func(f *fixture) { f.swap(ledgersTop+"/context.jsonl", sesOne, sesTwo) }},
		{name: "writes that were cut short", do: func(f *fixture) {
			for _, name := range []string{governancePath, claimsTop + "/WO-1.jsonl", ledgersTop + "/context.jsonl"} {
				f.write(name, string(f.read(name))+`{"v":1,`)
			}
		}},
		{name: "ledgers of another host", do: func(f *fixture) {
			f.strange = true
		}},
		{name: "ledgers that were rolled back, and one that is gone", do: func(f *fixture) {
			for _, name := range []string{governancePath, claimsTop + "/WO-1.jsonl"} {
				lines := strings.SplitAfter(string(f.read(name)), "\n")
				f.write(name, strings.Join(lines[:len(lines)-3], ""))
			}
			f.remove(ledgersTop + "/context.jsonl")
		}},
		{name: "ledgers without a register", do: func(f *fixture) {
			f.append(ledgersTop+"/context.jsonl", record.ContextOptions(), record.ContextSnapshot{SessionID: sesOpen, Plane: "ho1", Size: 2})
			f.remove("planes/ho3/ledger/sessions.jsonl")
			f.remove("planes/ho2/ledger/sessions.jsonl")
		}},
		{name: "a register that was changed", do: func(f *fixture) { f.swap("planes/ho3/ledger/sessions.jsonl", `"size":2`, `"size":3`) }},
		{name: "signatures that the policy requires", do: func(f *fixture) {
			f.write("control/policy.json", `{"schema": "agenthost/policy/v1", "require_signature": {"ho1": true, "ho3": true}}`)
			as(f, func(i *record.PackageInstall) { f.sign(i) })
		}},
	}
}

// sign signs an entry with a key that nobody trusts.
func (f *fixture) sign(i *record.PackageInstall) {
	f.t.Helper()
	secret, public := key(f.t, "bob")
	p := &archive.Package{Manifest: archive.Manifest{ID: i.Package.ID, Version: i.Package.Version}, Digest: i.Package.SHA256}
	signature, err := archive.Sign(p, secret)
	ok(f.t, err)
	i.Signer, i.Signature = public, string(signature)
}
