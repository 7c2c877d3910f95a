/* See methods.h. */
#include "methods.h"

#include <stdio.h>
#include <string.h>

/* sshd writes a line for each, its details behind a space or a slash (auth2.c, auth2_update_session_info). */
void
methods_name_earlier(const char *info, char out[EARLIER_SIZE])
{
	const size_t limit = EARLIER_SIZE - sizeof(",unknown");
	size_t used = 0, length;

	for (; *info != '\0'; info += strcspn(info, "\n"), info += *info == '\n') {
		length = strcspn(info, " /\n");
		if (length == 0)
			continue;
		if (used + length + 1 > limit) {
			info = "";
			used += (size_t)snprintf(out + used, EARLIER_SIZE - used, "%sunknown", used == 0 ? "" : ",");
			continue;
		}
		if (used > 0)
			out[used++] = ',';
		memcpy(out + used, info, length);
		used += length;
	}
	out[used] = '\0';
}

/* The line of publickey: its name, the key's type, the key (sshkey.c, sshkey_format_text). */
void
methods_last_key(const char *info, char out[TSW_OFFERED_MAX + 1])
{
	const char *last = info, *key;
	size_t length;

	out[0] = '\0';
	for (; *info != '\0'; info += strcspn(info, "\n"), info += *info == '\n')
		last = info;
	if (strncmp(last, TSW_METHOD_PUBLICKEY " ", sizeof(TSW_METHOD_PUBLICKEY)) != 0)
		return;
	key = last + sizeof(TSW_METHOD_PUBLICKEY);
	key += strcspn(key, " \n");
	if (*key != ' ')
		return;
	key++;
	length = strcspn(key, " \n");
	if (length > TSW_OFFERED_MAX)
		return;
	memcpy(out, key, length);
	out[length] = '\0';
}
