//go:build linux

package hostcall

import (
	"strings"
	"testing"
)

// An exchange is a message, its reply, and what the ledger has of it.
type exchange struct {
	line, body string
	reply      string
	op         string // empty: none
}

const (
	digestOfA   = "sha256:84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"
	digestOfABC = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	notFound    = `{"ok":false,"code":"not_found","message":"there is no such file or folder"}` + "\n"
	ok          = `{"ok":true}` + "\n"
)

// exchanges are all ops, in order, in one turn.
var exchanges = []exchange{
	{
		`{"op":"read","path":"docs/a.md"}`, "", `{"ok":true,"size":10,"body":10}` + "\n0123456789",
		`{"op":"read","via":"abi","path":"docs/a.md","decision":"granted","errno":"success","size":10,"sha256":"` + digestOfA + `"}`,
	},
	{
		` {"path" : "/docs/../docs/./a.md","length":3, "op":"read","offset":8}	`, "", `{"ok":true,"size":10,"body":2}` + "\n89",
		`{"op":"read","via":"abi","path":"docs/a.md","decision":"granted","errno":"success","size":10,"sha256":"` + digestOfA + `"}`,
	},
	{
		`{"op":"read","path":"docs/a.md","offset":9007199254740991}`, "", `{"ok":true,"size":10,"body":0}` + "\n",
		`{"op":"read","via":"abi","path":"docs/a.md","decision":"granted","errno":"success","size":10,"sha256":"` + digestOfA + `"}`,
	},
	{
		`{"op":"read","path":"docs/absent"}`, "", notFound,
		`{"op":"read","via":"abi","path":"docs/absent","decision":"granted","errno":"noent"}`,
	},
	{
		`{"op":"read","path":"secret"}`, "", notFound,
		`{"op":"read","via":"abi","path":"secret","decision":"hidden","rule":"no grant of read","errno":"noent"}`,
	},
	{`{"op":"read","path":"secret"}`, "", notFound, ""}, // counted
	{
		`{"op":"hash","path":"secret"}`, "", notFound,
		`{"op":"hash","via":"abi","path":"secret","decision":"hidden","rule":"no grant of read","errno":"noent"}`,
	},
	{
		`{"op":"read","path":"../x"}`, "", notFound,
		`{"op":"read","via":"abi","path":"../x","decision":"hidden","rule":"no such name can exist","errno":"noent"}`,
	},
	{
		`{"op":"read","path":"docs/a\u0000"}`, "", notFound,
		`{"op":"read","via":"abi","path":"docs/a\\x00","decision":"hidden","rule":"no such name can exist","errno":"noent"}`,
	},
	{
		`{"op":"read","path":"docs"}`, "", `{"ok":false,"code":"failed","message":"it is a folder"}` + "\n",
		`{"op":"read","via":"abi","path":"docs","decision":"granted","errno":"isdir"}`,
	},
	{
		`{"op":"read","path":"docs/a.md/"}`, "", `{"ok":false,"code":"failed","message":"it is no folder"}` + "\n",
		`{"op":"read","via":"abi","path":"docs/a.md","decision":"granted","errno":"notdir"}`,
	},
	{
		`{"op":"read","path":"/.agenthost/policy.json"}`, "", `{"ok":true,"size":21,"body":21}` + "\n" + `{"read":["docs/**"]}` + "\n",
		`{"op":"read","via":"abi","path":".agenthost/policy.json","decision":"package","errno":"success","size":21,"sha256":"sha256:fb5e0300598bd06d2aec7a532fbc55f123b1fb80963a50332724385670ca2d7a"}`,
	},
	{
		`{"op":"read","path":"/.agenthost/call"}`, "", `{"ok":false,"code":"failed","message":"it cannot be used like that"}` + "\n",
		`{"op":"read","via":"abi","path":".agenthost/call","decision":"package","errno":"badf"}`,
	},

	{
		`{"op":"list","path":"docs"}`, "", `{"ok":true,"entries":[{"name":"a.md","kind":"file"},{"name":"b.md","kind":"file"},{"name":"large","kind":"file"},{"name":"sub","kind":"folder"}]}` + "\n",
		`{"op":"list","via":"abi","path":"docs","decision":"granted","errno":"success"}`,
	},
	{
		`{"op":"list","path":"docs","after":"b.md"}`, "", `{"ok":true,"entries":[{"name":"large","kind":"file"},{"name":"sub","kind":"folder"}]}` + "\n",
		`{"op":"list","via":"abi","path":"docs","decision":"granted","errno":"success"}`,
	},
	{
		`{"op":"list","path":"/.agenthost"}`, "", `{"ok":true,"entries":[{"name":"call","kind":"device"},{"name":"deps","kind":"folder"},{"name":"pkg","kind":"folder"},{"name":"policy.json","kind":"file"}]}` + "\n",
		`{"op":"list","via":"abi","path":".agenthost","decision":"package","errno":"success"}`,
	},
	{
		`{"op":"list","path":"docs/no"}`, "", notFound,
		`{"op":"list","via":"abi","path":"docs/no","decision":"hidden","rule":"forbidden docs/no/**","errno":"noent"}`,
	},
	{
		`{"op":"list","path":"docs/a.md"}`, "", `{"ok":false,"code":"failed","message":"it is no folder"}` + "\n",
		`{"op":"list","via":"abi","path":"docs/a.md","decision":"granted","errno":"notdir"}`,
	},

	{
		`{"op":"hash","path":"docs/a.md"}`, "", `{"ok":true,"sha256":"` + digestOfA + `","size":10}` + "\n",
		`{"op":"hash","via":"abi","path":"docs/a.md","decision":"granted","errno":"success","size":10,"sha256":"` + digestOfA + `"}`,
	},
	{
		`{"op":"hash","path":"docs/large"}`, "", `{"ok":true,"sha256":"sha256:b95dccf94c44ad511c198c68474018c6b2c0094d1bc5dc941695460736fc70bd","size":2200000}` + "\n",
		`{"op":"hash","via":"abi","path":"docs/large","decision":"granted","errno":"success","size":2200000,"sha256":"sha256:b95dccf94c44ad511c198c68474018c6b2c0094d1bc5dc941695460736fc70bd"}`,
	},
	{
		`{"op":"hash"}`, "abc", `{"ok":true,"sha256":"` + digestOfABC + `","size":3}` + "\n",
		`{"op":"hash","via":"abi","decision":"own","errno":"success","size":3}`,
	},
	{
		`{"op":"hash"}`, "", `{"ok":true,"sha256":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}` + "\n",
		`{"op":"hash","via":"abi","decision":"own","errno":"success","size":0}`,
	},
	{
		`{"op":"hash","path":"docs"}`, "", `{"ok":false,"code":"failed","message":"it is a folder"}` + "\n",
		`{"op":"hash","via":"abi","path":"docs","decision":"granted","errno":"isdir"}`,
	},

	{
		`{"op":"write","path":"reports/a.md"}`, "abc", `{"ok":false,"code":"not_found","message":"there is no such file or folder"}` + "\n",
		`{"op":"write","via":"abi","path":"reports/a.md","flags":"write,create,trunc","decision":"granted","errno":"noent"}`,
	},
	{
		`{"op":"write","path":"kept/new"}`, "ab\nc", `{"ok":true,"size":4}` + "\n",
		`{"op":"write","via":"abi","path":"kept/new","flags":"write,create,trunc","decision":"granted","errno":"success"}`,
	},
	{
		`{"op":"write","path":"kept/new","append":true}`, "\x00\xff", `{"ok":true,"size":6}` + "\n",
		`{"op":"write","via":"abi","path":"kept/new","flags":"write,create,append","decision":"own","errno":"success"}`,
	},
	{
		`{"op":"read","path":"kept/new","offset":3}`, "", `{"ok":true,"size":6,"body":3}` + "\nc\x00\xff",
		`{"op":"read","via":"abi","path":"kept/new","decision":"own","errno":"success"}`,
	},
	{
		`{"op":"hash","path":"kept/new"}`, "", `{"ok":true,"sha256":"sha256:3f3ce504f9c01d2bcbe282c9032d3ac24b4edf35c86283d77b04a87ea44552a1","size":6}` + "\n",
		`{"op":"hash","via":"abi","path":"kept/new","decision":"own","errno":"success","size":6,"sha256":"sha256:3f3ce504f9c01d2bcbe282c9032d3ac24b4edf35c86283d77b04a87ea44552a1"}`,
	},
	{
		`{"op":"write","path":"kept/new","append":false}`, "", `{"ok":true,"size":0}` + "\n",
		`{"op":"write","via":"abi","path":"kept/new","flags":"write,create,trunc","decision":"own","errno":"success"}`,
	},
	{
		`{"op":"write","path":"kept/old","append":true}`, "er", `{"ok":true,"size":5}` + "\n",
		`{"op":"write","via":"abi","path":"kept/old","flags":"write,create,append","decision":"granted","errno":"success","size":3,"sha256":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"}`,
	},
	{
		`{"op":"write","path":".agenthost/call"}`, "x", `{"ok":false,"code":"failed","message":"it cannot be used like that"}` + "\n",
		`{"op":"write","via":"abi","path":".agenthost/call","flags":"write,create,trunc","decision":"package","errno":"badf"}`,
	},
	{
		`{"op":"write","path":".agenthost/policy.json"}`, "x", `{"ok":false,"code":"failed","message":"it is read-only"}` + "\n",
		`{"op":"write","via":"abi","path":".agenthost/policy.json","flags":"write,create,trunc","decision":"package","errno":"rofs"}`,
	},

	{
		`{"op":"exec","argv":["git","log"],"cwd":"docs","timeout_ms":1,"stdout_to":"tmp/x"}`, "input",
		`{"ok":false,"code":"unsupported","message":"the command is granted, but commands are not run here"}` + "\n",
		`{"op":"exec","via":"abi","path":"git log","decision":"refused","rule":"commands are not run here","errno":"notsup"}`,
	},

	{`{"op":"log","message":"hi \u2028 \ufffd"}`, "", ok, `{"op":"log","via":"abi","decision":"own","errno":"success","size":17}`},
	{
		`{"op":"log","level":"error","message":"no","fields":{"b" : [1.50, null],"a":{}}}`, "", ok,
		`{"op":"log","via":"abi","decision":"own","errno":"success","size":35}`,
	},

	{
		`{"op":"check","operation":"read","subject":"docs/a.md"}`, "", `{"ok":true,"allowed":true,"decision":"granted","grant":"docs/**"}` + "\n",
		`{"op":"check","via":"abi","path":"docs/a.md","decision":"own","right":"read","errno":"success"}`,
	},
	{
		`{"op":"check","operation":"read","subject":"docs/absent"}`, "", `{"ok":true,"allowed":true,"decision":"granted","grant":"docs/**"}` + "\n",
		`{"op":"check","via":"abi","path":"docs/absent","decision":"own","right":"read","errno":"success"}`,
	},
	{
		`{"op":"check","operation":"read","subject":"secret"}`, "", `{"ok":true,"allowed":false,"decision":"hidden","rule":"not granted"}` + "\n",
		`{"op":"check","via":"abi","path":"secret","decision":"own","right":"read","rule":"no grant of read","errno":"success"}`,
	},
	{
		`{"op":"check","operation":"read","subject":"docs/.env"}`, "", `{"ok":true,"allowed":false,"decision":"hidden","rule":"not granted"}` + "\n",
		`{"op":"check","via":"abi","path":"docs/.env","decision":"own","right":"read","rule":"withheld **/.env","errno":"success"}`,
	},
	{
		`{"op":"check","operation":"read","subject":"docs/no/s"}`, "", `{"ok":true,"allowed":false,"decision":"violation","rule":"forbidden docs/no/**"}` + "\n",
		`{"op":"check","via":"abi","path":"docs/no/s","decision":"own","right":"read","rule":"forbidden docs/no/**","errno":"success"}`,
	},
	{
		`{"op":"check","operation":"write","subject":"docs/a.md"}`, "", `{"ok":true,"allowed":false,"decision":"violation","rule":"not granted"}` + "\n",
		`{"op":"check","via":"abi","path":"docs/a.md","decision":"own","right":"write","rule":"no grant of write","errno":"success"}`,
	},
	{
		`{"op":"check","operation":"write","subject":"reports/a.txt"}`, "", `{"ok":true,"allowed":false,"decision":"violation","grant":"reports/**","rule":"undeclared_write"}` + "\n",
		`{"op":"check","via":"abi","path":"reports/a.txt","decision":"own","right":"write","rule":"undeclared_write","errno":"success"}`,
	},
	{
		`{"op":"check","operation":"write","subject":"kept/new"}`, "", `{"ok":true,"allowed":true,"decision":"own"}` + "\n",
		`{"op":"check","via":"abi","path":"kept/new","decision":"own","right":"write","errno":"success"}`,
	},
	{
		`{"op":"check","operation":"execute","subject":["git","log"]}`, "", `{"ok":true,"allowed":true,"decision":"granted","grant":"git log"}` + "\n",
		`{"op":"check","via":"abi","path":"git log","decision":"own","right":"execute","errno":"success"}`,
	},
	{
		`{"op":"check","operation":"execute","subject":["git","push"]}`, "", `{"ok":true,"allowed":false,"decision":"violation","rule":"not granted"}` + "\n",
		`{"op":"check","via":"abi","path":"git push","decision":"own","right":"execute","rule":"no grant of execute","errno":"success"}`,
	},

	{`{"op":"request"}`, "", `{"ok":true,"request":{"abi":1,"session_id":"` + sid + `","query":"<q>"}}` + "\n", `{"op":"request","via":"abi","decision":"own","errno":"success"}`},
	{`{"op":"info"}`, "", `{"ok":true,"abi":1,"minor":0,"ops":["check","exec","hash","info","list","log","read","request","result","write"],` +
		`"limits":{"path":4096,"request":0,"body":0,"reply":0,"memory":0,"time_ms":0,"fuel":0,"output_bytes":0,"output_files":0,"result_bytes":0,"entries":0,"call_depth":0},` +
		`"rights":{"read":["docs/**"]}}` + "\n", `{"op":"info","via":"abi","decision":"own","errno":"success"}`},
	{`{"op":"result"}`, "first", ok, `{"op":"result","via":"abi","decision":"own","errno":"success","size":5}`},
	{`{"op":"result"}`, "last", ok, `{"op":"result","via":"abi","decision":"own","errno":"success","size":4}`},
	{
		`{"op":"http","url":"x","anything":[]}`, "body", `{"ok":false,"code":"unsupported","message":"http is kept for a later version"}` + "\n",
		`{"op":"http","via":"abi","decision":"refused","rule":"kept for a later version","errno":"notsup"}`,
	},
	{
		`{"op":"model"}`, "", `{"ok":false,"code":"unsupported","message":"model is kept for a later version"}` + "\n",
		`{"op":"model","via":"abi","decision":"refused","rule":"kept for a later version","errno":"notsup"}`,
	},
	{
		`{"op":"approve"}`, "", `{"ok":false,"code":"unsupported","message":"approve is kept for a later version"}` + "\n",
		`{"op":"approve","via":"abi","decision":"refused","rule":"kept for a later version","errno":"notsup"}`,
	},
}

// One list holds both doors: the same message has the same reply, the same effect
// and the same entry.
func TestOps(t *testing.T) {
	for name, send := range doors {
		w := newWorld(t)
		done := 0
		for _, e := range exchanges {
			got := send(w, e.line, e.body)
			ops := w.ops()[done:]
			done += len(ops)
			if got != e.reply {
				t.Errorf("%s: %s\n got %q\nwant %q", name, e.line, got, e.reply)
			}
			if got, want := strings.Join(ops, "\n"), e.op; got != want {
				t.Errorf("%s: %s\n got %s\nwant %s", name, e.line, got, want)
			}
		}
		if got, want := string(w.result), "last"; got != want {
			t.Errorf("%s: the result is %q, want %q", name, got, want)
		}
		if got, want := w.logged, "info: hi \u2028 \ufffd\nerror: no {\"b\":[1.50,null],\"a\":{}}\n"; got != want {
			t.Errorf("%s: logged %q, want %q", name, got, want)
		}
		if got, want := w.stagedFiles(), `kept/new="" kept/old="older"`; got != want {
			t.Errorf("%s: staged %s, want %s", name, got, want)
		}
	}
}
