/* See key_options.h. */
#include "key_options.h"

#include <string.h>

#define RESTRICT "restrict"
#define COMMAND_BEGIN ",command=\""

/* What `restrict` has taken away and may be given back, and the one limit to that; in this order, each once. */
static const char *const GIVEN_BACK[] = { ",agent-forwarding", ",port-forwarding", ",permitopen=\"255.255.255.255:1\"",
	",pty" };

static const char *
skip(const char *text, const char *part)
{
	size_t length = strlen(part);

	return strncmp(text, part, length) == 0 ? text + length : text;
}

/* Reads as sshd does (misc.c, opt_dequote): only a backslash in front of a quote is more than itself. */
static const char *
skip_quoted(const char *text)
{
	while (*text >= ' ' && *text <= '~' && *text != '"')
		text += text[0] == '\\' && text[1] == '"' ? 2 : 1;
	return text;
}

bool
key_options_are_valid(const char *options)
{
	const char *at = skip(options, RESTRICT), *command, *end;
	size_t i;

	if (at == options)
		return false;
	for (i = 0; i < sizeof(GIVEN_BACK) / sizeof(GIVEN_BACK[0]); i++)
		at = skip(at, GIVEN_BACK[i]);
	if (*at == '\0')
		return true;
	command = skip(at, COMMAND_BEGIN);
	if (command == at)
		return false;
	end = skip_quoted(command);
	return end > command && strcmp(end, "\"") == 0;
}
