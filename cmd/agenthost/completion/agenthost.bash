# bash completion for agenthost: asks the program itself.
_agenthost() {
	local cur=${COMP_WORDS[COMP_CWORD]} kind word about
	COMPREPLY=()
	{
		IFS= read -r kind
		while IFS=$'\t' read -r word about; do
			COMPREPLY+=("$word")
		done
	} < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
	[[ $cur == '=' ]] && cur=''
	case $kind in
	files) compopt -o filenames 2>/dev/null; mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur") ;;
	folders) compopt -o filenames 2>/dev/null; mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$cur") ;;
	esac
}
complete -F _agenthost agenthost
