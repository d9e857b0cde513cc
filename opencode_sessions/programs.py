"""What programs do to files, known by their names: which only read, and which git commands do.

What is not named here may change anything.
"""

# Commands that change no file; an option in the second list makes them do so.
READS = {
    *(":", "[", "[[", "]]", "alias", "awk", "basename", "cat", "chmod", "chown", "cksum"),
    *("cmp", "column", "comm", "curl", "cut", "date", "df", "diff", "dirname", "du", "echo"),
    *("egrep", "exit", "export", "false", "fgrep", "file", "find", "fold", "free", "grep", "head"),
    *("history", "hostname", "id", "jq", "less", "ls", "md5sum", "more", "nl", "od"),
    *("paste", "printf", "ps", "pwd", "read", "readlink", "realpath", "return", "rg", "rmdir"),
    *("seq", "set", "sha1sum", "sha256sum", "shasum", "sleep", "sort", "stat", "strings"),
    *("tac", "tail", "test", "tr", "tree", "true", "type", "uname", "uniq", "unset"),
    *("wait", "wc", "wget", "which", "whoami", "xxd", "yes"),
}
WRITING_OPTIONS = {
    "find": ("-delete", "-exec", "-execdir", "-ok", "-okdir", "-fprint", "-fprintf", "-fls"),
    "sort": ("-o", "--output"),
    "curl": ("-o", "-O", "-J", "--output", "--remote-name"),
    "tree": ("-o",),
    "awk": ("-i",),
    "wget": ("",),
    "xxd": ("-r",),
    "uniq": ("",),
}
GIT_READS = {
    *("add", "blame", "branch", "cat-file", "commit", "config", "describe", "diff", "fetch"),
    *("for-each-ref", "grep", "init", "log", "ls-files", "ls-remote", "ls-tree", "notes", "push"),
    *("reflog", "remote", "rev-list", "rev-parse", "shortlog", "show", "show-ref", "status"),
    *("tag", "var", "version", "whatchanged"),
}
GIT_BRINGS = {
    *("am", "bisect", "checkout", "checkout-index", "cherry-pick", "clone", "merge", "pull"),
    *("read-tree", "rebase", "reset", "restore", "revert", "stash", "submodule", "switch"),
    *("worktree",),
}
