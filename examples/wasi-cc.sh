#!/bin/sh
# Prints the name of a clang that builds WASI commands ($WASI_CC, if it does), or
# fails and says what would install one.
trial=$(mktemp) || exit 1
trap 'rm -f "$trial"' EXIT
for cc in ${WASI_CC:-clang clang-22 clang-21 clang-20 clang-19 clang-18 clang-17 clang-16 clang-15 clang-14}; do
	if echo 'int main(void) { return 0; }' | "$cc" --target=wasm32-wasi -x c - -o "$trial" 2>/dev/null; then
		echo "$cc"
		exit 0
	fi
done
echo "there is no clang here that builds for wasm32-wasi; on Debian, make tools installs it:" \
	"clang lld wasi-libc libclang-rt-dev-wasm32" >&2
exit 1
