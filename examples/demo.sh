#!/bin/sh
# Packs and runs the example agents on this tree's own documents, and shows what
# was published, what was refused and why, and the verified record.
# `make demo` calls it.
set -u
cd "$(dirname "$0")/.." || exit 1
agenthost="$PWD/bin/agenthost"
demo=build/demo
rm -rf "$demo"
mkdir -p "$demo"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || say() { printf '\n%s\n' "$*"; }

# run STATUS WORDS... shows a command, runs it, and fails if it ends otherwise.
run() {
	want=$1
	shift
	printf '$ agenthost'
	for word in "$@"; do
		case $word in
		*[!A-Za-z0-9_./=@-]*) printf " '%s'" "$word" ;;
		*) printf ' %s' "$word" ;;
		esac
	done
	printf '\n'
	"$agenthost" "$@" 2>&1
	got=$?
	[ "$got" -eq "$want" ] || { echo "demo: exit status $got, want $want"; exit 1; }
	[ "$want" -eq 0 ] || echo "(exit status $got)"
}

for wasm in build/guests/*.wasm; do
	agent=$(basename "$wasm" .wasm)
	mkdir -p "$demo/$agent"
	cp "examples/$agent/manifest.json" "$demo/$agent/"
	cp "$wasm" "$demo/$agent/agent.wasm"
done

# What agenthost keeps goes there, not to .agenthost in this tree; and so does the
# key that signs the record, which is otherwise kept for good.
export AGENTHOST_CONFIG="$PWD/$demo/config"
export AGENTHOST_ROOT="$demo/root"
echo "$ export AGENTHOST_ROOT=$AGENTHOST_ROOT"

say "1. A folder with a manifest and a module becomes a package."
run 0 package pack --src "$demo/report" -o "$demo/report.tar.gz"
run 0 package pack --src "$demo/misbehave" -o "$demo/misbehave.tar.gz"

say "2. What does the first one ask for?"
run 0 package inspect "$demo/report.tar.gz"

say "3. It reads the documents of this tree and writes a report."
run 0 run "$demo/report.tar.gz" -o "$demo/out" --query '{"title":"The documents of agenthost"}'
echo
sed 's/^/  /' "$demo/out/report.md"

say "4. A library of tier T0 says what a piece of work began with. It holds no file: the host hashes. The work order lets it read two."
orders="$AGENTHOST_ROOT/planes/ho2/work_orders"
mkdir -p "$orders"
cat >"$orders/WO-7.json" <<'END'
{
  "schema": "agenthost/work_order/v1", "id": "WO-7", "packages": ["PKG-T0-EVIDENCE-001"],
  "capabilities": {"read": ["README.md", "LICENSE"]}, "turns": 1
}
END
echo "$ cat $orders/WO-7.json"
cat "$orders/WO-7.json"
run 0 run "$demo/evidence" --work-order WO-7 --input README.md --query '{"input":{"b":2,"a":1.0},"files":["LICENSE"]}'
echo "$ sha256sum LICENSE"
sha256sum LICENSE

if [ -e "$demo/wordcount" ]; then
	say "5. An agent may be in any language, without SDK: this one is 38 kB of C."
	run 0 run "$demo/wordcount"
else
	say "5. An agent may be in any language, but the one in C was not built."
	sh examples/wasi-cc.sh
fi

why=
if ! command -v git >/dev/null; then
	why="git is not installed"
elif [ ! -d .git ]; then
	why="this tree is no repository"
elif ! "$agenthost" doctor --quiet >/dev/null 2>&1; then
	why="this machine has no fence for commands (agenthost doctor says what is missing)"
fi
if [ -z "$why" ]; then
	say "6. This one has git run on this very repository. Somebody must accept that very package first."
	run 0 package pack --src "$demo/changelog" -o "$demo/changelog.tar.gz"
	run 6 run "$demo/changelog.tar.gz"
	digest=$("$agenthost" package inspect --json "$demo/changelog.tar.gz" | sed -n 's/^  "sha256": "sha256:\(............\).*/\1/p')
	run 0 run "$demo/changelog.tar.gz" --accept "$digest" -o "$demo/out"
	echo
	sed -n '1,12s/^/  /p' "$demo/out/CHANGELOG.md"
else
	say "6. An agent may have commands run. The one that has git write a changelog is skipped: $why."
fi

say "7. Misbehave writes a file nobody declared. Nothing is published."
run 3 run "$demo/misbehave.tar.gz" -- undeclared
[ ! -e NOTES.md ] || { echo "demo: NOTES.md was written"; exit 1; }

say "8. It computes for ever. After the five seconds of its manifest it is stopped."
run 7 run "$demo/misbehave.tar.gz" -- loop

say "9. It looks for what is none of its business, then reads what its manifest forbids."
run 3 run "$demo/misbehave.tar.gz"

say "10. Everything is on record, and the record verifies."
run 0 session list
run 0 ledger show @last
run 0 verify --all

say "11. A control plane keeps what is installed and who changed it. An agent in it explains that."
unset AGENTHOST_ROOT
export AGENTHOST_WORKSPACE="$demo/plane"
echo "$ export AGENTHOST_WORKSPACE=$AGENTHOST_WORKSPACE"
mkdir "$AGENTHOST_WORKSPACE"
echo "$ agenthost control init >$demo/token"
(umask 077 && "$agenthost" control init >"$demo/token") || exit 1
run 0 package pack --src "$demo/admin" --token-file "$demo/token"
run 0 package install --id PKG-T3-ADMIN-001 --token-file "$demo/token"
run 6 package uninstall --id PKG-T3-ADMIN-001 --token guessed
run 0 run PKG-T3-ADMIN-001 --query '{"explain":"PKG-T3-ADMIN-001"}'
run 0 integrity-check
