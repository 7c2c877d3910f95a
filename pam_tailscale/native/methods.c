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
