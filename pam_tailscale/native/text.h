/* Makes text from elsewhere safe to show to a person or to put into a log line. Pure. */
#ifndef TEXT_H
#define TEXT_H

#include <stddef.h>

/* Enough for any account name, each byte escaped, and the quotes. */
#define TEXT_LOG_SIZE 1040

/*
 * For a terminal: well-formed UTF-8 without control characters (newline and tab excepted), at most size - 1 bytes; every
 * byte that does not belong there becomes a question mark.
 */
void text_for_person(const char *text, char *out, size_t size);

/* For a log line: in double quotes, printable ASCII, everything else as \xHH; cut with "..." when it does not fit. */
void text_for_log(const char *text, char *out, size_t size);

#endif
