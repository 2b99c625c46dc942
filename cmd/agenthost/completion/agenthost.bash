# bash completion for agenthost: asks the program itself.
_agenthost() {
	local rest=${COMP_LINE:0:COMP_POINT} kind word about
	local -a words=()
	# Bash parts words at "=", ":" and "@" too; what no space parts is one word.
	for word in "${COMP_WORDS[@]:0:COMP_CWORD}"; do
		if [[ ${#words[@]} -gt 0 && $rest == "$word"* ]]; then
			words[-1]+=$word
		else
			words+=("$word")
		fi
		rest=${rest#*"$word"}
	done
	if [[ $rest == [[:space:]]* ]]; then
		words+=("${rest#"${rest%%[![:space:]]*}"}")
	else
		words[-1]+=$rest
	fi
	# Only $2, the end of the last word, is replaced.
	COMPREPLY=()
	{
		IFS= read -r kind
		while IFS=$'\t' read -r word about; do
			COMPREPLY+=("${word#"${words[-1]%"$2"}"}")
		done
	} < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
	case $kind in
	files) compopt -o filenames 2>/dev/null; mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$2") ;;
	folders) compopt -o filenames 2>/dev/null; mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$2") ;;
	esac
}
complete -F _agenthost agenthost
