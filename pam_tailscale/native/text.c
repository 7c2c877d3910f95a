/* See text.h. */
#include "text.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/*
 * The length of the well-formed UTF-8 sequence of two to four bytes at text, 0 when there is none (RFC 3629, section 4).
 * U+0080 to U+009F are refused: terminals obey them as they obey escape sequences.
 */
static size_t
sequence_length(const unsigned char *text)
{
	unsigned char lead = text[0], low = 0x80, high = 0xbf;
	size_t length, i;

	if (lead < 0xc2 || lead > 0xf4)
		return 0;
	length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
	if (lead == 0xc2 || lead == 0xe0)
		low = 0xa0;
	if (lead == 0xf0)
		low = 0x90;
	if (lead == 0xed)
		high = 0x9f;
	if (lead == 0xf4)
		high = 0x8f;
	if (text[1] < low || text[1] > high)
		return 0;
	for (i = 2; i < length; i++)
		if (text[i] < 0x80 || text[i] > 0xbf)
			return 0;
	return length;
}

static bool
is_plain(unsigned char byte)
{
	return (byte >= 0x20 && byte < 0x7f) || byte == '\n' || byte == '\t';
}

void
text_for_person(const char *text, char *out, size_t size)
{
	const unsigned char *from = (const unsigned char *)text;
	size_t used = 0, length;

	while (*from != '\0') {
		length = is_plain(*from) ? 1 : sequence_length(from);
		if (used + (length == 0 ? 1 : length) >= size)
			break;
		if (length == 0)
			out[used++] = '?';
		else
			memcpy(out + used, from, length);
		used += length;
		from += length == 0 ? 1 : length;
	}
	out[used] = '\0';
}

void
text_for_log(const char *text, char *out, size_t size)
{
	const size_t tail = sizeof("...\"");
	size_t used = 0;

	out[used++] = '"';
	for (; *text != '\0'; text++) {
		unsigned char byte = (unsigned char)*text;

		if (used + sizeof("\\xff") - 1 + tail > size) {
			memcpy(out + used, "...", 3);
			used += 3;
			break;
		}
		if (byte == '"' || byte == '\\')
			out[used++] = '\\';
		if (byte >= 0x20 && byte < 0x7f)
			out[used++] = (char)byte;
		else
			used += (size_t)snprintf(out + used, size - used, "\\x%02x", byte);
	}
	out[used++] = '"';
	out[used] = '\0';
}
