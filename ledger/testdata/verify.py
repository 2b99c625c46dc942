#!/usr/bin/env python3
"""Checks the ledgers of a session as ../README.md has them; written from that text alone."""
import argparse, base64, hashlib, json, re, sys
LINE = re.compile(rb'\{"v":1,"seq":(0|[1-9]\d*),"ts":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z","mono_ns":\d+,"kind":"([a-z._]{1,64})",'
                  rb'"sid":"([A-Za-z0-9_.-]{1,128})","turn":\d+(?:,(.+))?,"prev":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"\}\n')
SEAL = re.compile(rb'"size":(\d+),"root":"sha256:([0-9a-f]{64})","prev_size":(\d+),"sig":"([^"\\]+)"(,"final":true)?')
KEY, SIG = re.compile(r"[^+\s]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}"), re.compile(r"[A-Za-z0-9+/]{90}[AEIMQUYcgkosw048]=")
COUNT = {"session.open", "session.resume", "session.close", "turn.end", "turn.evidence", "erased", "recovered"}  # with a seal
P, Q = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493  # the curve of RFC 8032, section 5.1
D = -121665 * pow(121666, -1, P) % P
def need(ok, why):
    if not ok: raise ValueError(why)
def add(p, q):
    (x1, y1), (x2, y2), k = p, q, D * p[0] * q[0] * p[1] * q[1] % P
    inverse = pow(1 - k * k, -1, P)
    return (x1 * y2 + x2 * y1) * (1 - k) * inverse % P, (y1 * y2 + x1 * x2) * (1 + k) * inverse % P
def times(n, p):
    r = (0, 1)
    for bit in bin(n)[2:]:
        r = add(add(r, r), p) if bit == "1" else add(r, r)
    return r
def point(b):
    y, odd = int.from_bytes(b, "little") % 2**255, b[31] >> 7
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * pow(2, (P - 1) // 4, P) % P
    need(len(b) == 32 and y < P and x * x % P == square and (x or not odd), "not a point of the curve")
    return P - x if x & 1 != odd else x, y

def ed25519(key, text, sig):
    h, s = hashlib.sha512(sig[:32] + key + text).digest(), int.from_bytes(sig[32:], "little")
    base = point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    return s < Q and times(s, base) == add(point(sig[:32]), times(int.from_bytes(h, "little") % Q, point(key)))
def signed(vkey, text, sig):  # C2SP signed-note
    need(KEY.fullmatch(vkey) and SIG.fullmatch(sig), "not a key, or not a signature: " + vkey)
    (name, mark, _), key, sig = vkey.split("+", 2), base64.b64decode(vkey[-44:]), base64.b64decode(sig)
    need(key[0] == 1 and hashlib.sha256(name.encode() + b"\n" + key).hexdigest()[:8] == mark, "bad verifier key " + vkey)
    return sig[:4].hex() == mark and ed25519(key[1:], text.encode(), sig[4:])
def root(edge):
    h = edge[-1][1] if edge else hashlib.sha256().digest()
    for _, left in edge[-2::-1]: h = hashlib.sha256(b"\1" + left + h).digest()
    return h

def read(path, saw, signer):  # checks a whole ledger; gives the root of each seal by its size
    n, prev, sid, edge, size, sealed, final, held, roots = 0, b"0" * 64, None, [], 0, 0, b"", False, {}
    for line in open(path, "rb"):
        m, at = LINE.fullmatch(line), f"{path} line {n + 1}: "
        need(m and hashlib.sha256(b"\0" + line[:-76]).hexdigest().encode() == m[6], at + "not an entry, or its hash is wrong")
        need(int(m[1]) == n and m[5] == prev and sid in (None, m[3]), at + "seq, prev or sid does not go on")
        kind, prev, sid = m[2].decode(), m[6], m[3]
        need(not final or kind in ("seal", "session.resume", "recovered", "erased"), at + "it follows a final seal")
        if kind == "seal":
            s, h, held = SEAL.fullmatch(m[4] or b""), root(edge), False
            need(s and int(s[1]) == n and int(s[3]) == size and s[2].decode() == h.hex() and (s[5] or not final), at + "not the next seal of what is before it")
            sig, (origin, vkey) = s[4].decode(), signer(s[4].decode())
            need(signed(vkey, f"{origin}\n{n}\n{base64.b64encode(h).decode()}\n", sig), at + "the signature is wrong")
            size, sealed, final, roots[n] = n, n + 1, s[5], h
        else:
            need(not held or kind in COUNT, at + "what is before it has no seal")
            held = kind in COUNT
            saw(kind, sid.decode(), json.loads(b"{" + (m[4] or b"") + b"}"), n)
        edge, n = edge + [(1, bytes.fromhex(prev.decode()))], n + 1
        while len(edge) > 1 and edge[-1][0] == edge[-2][0]:
            edge[-2:] = [(2 * edge[-1][0], hashlib.sha256(b"\1" + edge[-2][1] + edge[-1][1]).digest())]
    need(sealed == n, f"{path}: only {sealed} of {n} entries are sealed")
    return roots, final

def session(folder, receipts):  # gives the hosts that signed its keys
    keys, hosts, at, ends, name = [], [], [], [], lambda of: "agenthost/{}/{}".format(*at) + of
    def saw(kind, sid, m, n):
        if kind == "session.open": at.extend((m["plane"], sid))
        need(len(at) == 2, "session.open is the first entry, and no other is one")
        if kind in ("session.open", "session.resume"):
            ok = m["key"].split("+")[0] == name("") and m["key"] not in keys
            need(ok and signed(m["host"], "agenthost process key v1\n{}\n{}\n{}\n".format(*at, m["key"]), m["key_sig"]), f"entry {n}: no host signed its key for this session")
            keys.append(m["key"]), hosts.append(m["host"])
        if kind in ("turn.end", "session.close"): ends.append(m.get("evidence"))
    def evidence(sig):  # by the key of the seal before, or by a later one
        while keys and keys[0].split("+")[1] != base64.b64decode(sig)[:4].hex(): keys.pop(0)
        need(keys, "evidence.jsonl: a seal by no key of the session, or by one that was followed by another")
        return name("/evidence"), keys[0]
    roots, final = read(folder + "/exec.jsonl", saw, lambda sig: (name("/exec"), keys[-1]))
    others, ended = read(folder + "/evidence.jsonl", lambda *_: None, evidence)
    need(hosts and (None not in ends or final and ended), "it has no key, or was closed and its end was cut")
    need(all(others.get(t["size"], b"").hex() == t["root"][7:] for t in ends if t), "a turn was committed with another evidence.jsonl")
    for receipt in receipts:
        origin, size, h = receipt.read().split("\n")[:3]
        need({name("/exec"): roots, name("/evidence"): others}.get(origin, {}).get(int(size)) == base64.b64decode(h), "it is not what it was by " + receipt.name)
    return hosts

flags = argparse.ArgumentParser(description=__doc__, epilog="status: 0 VERIFIED, 6 INTACT BUT SIGNER UNKNOWN, 4 BROKEN, 2 wrong usage")
for flag, kind, what in (("--trust", str, "verifier key of a host"), ("--receipt", argparse.FileType(), "file with a checkpoint that was kept")):
    flags.add_argument(flag, type=kind, action="append", default=[], help=what)
o = flags.add_argument("folder", help="with exec.jsonl and evidence.jsonl") and flags.parse_args()
try:
    unknown = sorted(set(session(o.folder, o.receipt)) - set(o.trust))
except Exception as e:  # whatever is in the files
    sys.exit(print(f"BROKEN: {e}") or 4)
sys.exit(print("INTACT BUT SIGNER UNKNOWN: " + ", ".join(unknown) if unknown else "VERIFIED") or 6 * bool(unknown))
