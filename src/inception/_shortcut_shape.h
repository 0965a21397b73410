/* What a configuration, or a command, is beside the values that every container has of its own: its shape, which plans are kept by.
 *
 * Engines write another config.json for each container, and nearly all of it is the same each time. Some strings decide nothing
 * but themselves: the arguments, what variables hold, the hostname, where the root and the sources of bind mounts lie, the
 * cgroup's last name, namespaces to join, annotations. In the shape a sign stands for each of them (or for the part that may
 * vary: a path keeps its "/", a variable its name), in the order in which they are there.
 *
 * The shape is text, and where the signs are follows from it alone. So whatever plain strings are put in their place, Python would
 * read the same structure: nothing here has to know JSON better than well enough to find the strings. What looks unusual stays a
 * part of the shape, or is Python's. Part of _shortcut.c. */

enum { TEXT_SIZE = 1 << 20, HOLES = 1024, DEPTH = 32 };

struct text {
    char data[TEXT_SIZE];
    size_t size;
    int broken; /* it did not fit, or could not be read: nothing is kept, nothing is used */
};

struct hole {
    const char *raw; /* as JSON has it */
    size_t raw_size;
    const char *value; /* what that is */
};

/* All that decides a plan, in three parts: who does it and where, the shape, what HOME may be made of. */
static struct text facts, shape, passwd;
static struct text decoded, scratch;
static struct hole holes[HOLES];
static int hole_count;
static int has_home; /* the last HOME that was scanned is not empty */

enum kind { LITERAL, WHOLE, NAME, ARGUMENT, VARIABLE, ROOT, SOURCE, DESTINATION, NAMESPACE, CGROUP };

struct place {
    const char *path;
    enum kind kind;
};

static const struct place of_config[] = {{"process.args[]", ARGUMENT},
                                         {"process.env[]", VARIABLE},
                                         {"hostname", NAME},
                                         {"root.path", ROOT},
                                         {"mounts[].source", SOURCE},
                                         {"mounts[].destination", DESTINATION},
                                         {"linux.cgroupsPath", CGROUP},
                                         {"linux.namespaces[].path", NAMESPACE},
                                         {"annotations.", WHOLE},
                                         {NULL, LITERAL}};
static const struct place of_process[] = {{"args[]", ARGUMENT}, {"env[]", VARIABLE}, {NULL, LITERAL}};

static void
append(struct text *text, const char *data, size_t size)
{
    if (size >= TEXT_SIZE - text->size) {
        text->broken = 1;
        return;
    }
    memcpy(text->data + text->size, data, size);
    text->size += size;
    text->data[text->size] = 0;
}

/* ---- strings ------------------------------------------------------------------------------------------------------------ */

/* The value of a JSON string with printable ASCII and the usual escapes; NULL for others, which then don't vary. */
static const char *
decode(const char *raw, size_t size)
{
    static const char letters[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char *start = decoded.data + decoded.size, *out = start;
    if (size >= TEXT_SIZE - decoded.size)
        return NULL;
    for (const char *at = raw, *end = raw + size; at < end; at++) {
        if (*at < 0x20 || *at > 0x7e)
            return NULL;
        if (*at != '\\') {
            *out++ = *at;
            continue;
        }
        const char *found = ++at < end && *at ? strchr(letters, *at) : NULL;
        if (found != NULL) {
            *out++ = values[found - letters];
            continue;
        }
        unsigned int code = 0;
        if (at + 4 >= end || *at != 'u' || at[1] != '0' || at[2] != '0' || !isxdigit((unsigned char)at[3]) || !isxdigit((unsigned char)at[4]) ||
            sscanf(at + 3, "%2x", &code) != 1 || code == 0 || code > 0x7e)
            return NULL;
        *out++ = (char)code;
        at += 4;
    }
    *out++ = 0;
    decoded.size += (size_t)(out - start);
    return start;
}

/* Whether it is plainly a path from / on, as os.path.normpath would have it; what it holds means itself in JSON. */
static int
is_clean(const char *path, size_t size)
{
    if (size < 2 || path[0] != '/' || path[size - 1] == '/')
        return 0;
    for (size_t i = 0; i < size; i++) {
        if (path[i] < 0x20 || path[i] > 0x7e || path[i] == '\\' || path[i] == '"')
            return 0;
        if (path[i] != '/')
            continue;
        const char *part = path + i + 1;
        size_t length = 0;
        while (i + 1 + length < size && part[length] != '/')
            length++;
        if (length == 0 || (length == 1 && part[0] == '.') || (length == 2 && part[0] == '.' && part[1] == '.'))
            return 0;
    }
    return 1;
}

/* One more value that varies. */
static void
add_hole(const char *raw, size_t size, const char *value)
{
    if (hole_count >= HOLES || value == NULL)
        python(NULL);
    holes[hole_count++] = (struct hole){raw, size, value};
}

/* ---- JSON ---------------------------------------------------------------------------------------------------------------- */

struct scan {
    const struct place *places;
    const char *at, *end;
    const char *copied; /* up to here it is in the shape */
    char path[512];     /* of the value at hand */
    const char *root, *destinations[HOLES];
    size_t root_size, destination_sizes[HOLES];
    int destination_count, root_hole, source_holes[HOLES], source_count;
};

static void
skip_blanks(struct scan *scan)
{
    while (scan->at < scan->end && strchr(" \t\r\n", *scan->at) && *scan->at)
        scan->at++;
}

/* Past *c*, which must be there. */
static void
expect(struct scan *scan, char c)
{
    skip_blanks(scan);
    if (scan->at >= scan->end || *scan->at++ != c)
        python(NULL);
}

static int
is_next(struct scan *scan, char c)
{
    skip_blanks(scan);
    return scan->at < scan->end && *scan->at == c;
}

/* The inside of the string that begins here. */
static const char *
next_string(struct scan *scan, size_t *size)
{
    expect(scan, '"');
    const char *start = scan->at;
    for (; scan->at < scan->end && *scan->at != '"'; scan->at++) {
        if ((unsigned char)*scan->at < 0x20)
            python(NULL);
        if (*scan->at == '\\')
            scan->at++;
    }
    if (scan->at >= scan->end)
        python(NULL);
    *size = (size_t)(scan->at++ - start);
    return start;
}

/* Case counts as little as in record.py, decode. */
static enum kind
kind_of(const struct scan *scan)
{
    for (const struct place *place = scan->places; place->path != NULL; place++) {
        size_t length = strlen(place->path);
        if (place->path[length - 1] == '.' ? strncasecmp(scan->path, place->path, length) == 0
                                           : strcasecmp(scan->path, place->path) == 0)
            return place->kind;
    }
    return LITERAL;
}

/* Whether the variable *name* is one that other things are made of. */
static int
is_variable(const char *raw, size_t length, const char *name)
{
    return length == strlen(name) && memcmp(raw, name, length) == 0;
}

/* Where the part of a string that varies begins; its size where nothing does. *index* is its place in a list. */
static size_t
varies_from(struct scan *scan, enum kind kind, const char *raw, size_t size, int index)
{
    const char *equals;
    size_t from;
    switch (kind) {
    case WHOLE:
        return strncasecmp(scan->path, "annotations.run.oci.", 20) == 0 ? size : 0; /* those say something to the runtime */
    case NAME:
        return memchr(raw, '\\', size) ? size : 0;
    case ARGUMENT:
        if (index > 0)
            return 0;
        if (memchr(raw, '\\', size) || (raw[0] != '/' && memchr(raw, '/', size)))
            return size;
        return raw[0] == '/'; /* else it is looked for in PATH */
    case VARIABLE:
        equals = memchr(raw, '=', size);
        if (equals == NULL || memchr(raw, '\\', (size_t)(equals - raw)))
            return size;
        from = (size_t)(equals - raw);
        if (is_variable(raw, from, "HOME"))
            has_home = size > from + 1;
        return is_variable(raw, from, "HOME") || is_variable(raw, from, "PATH") ? size : from + 1;
    case ROOT:
        if (scan->root != NULL)
            python(NULL);
        scan->root = raw;
        scan->root_size = size;
        return is_clean(raw, size) ? 1 : size;
    case SOURCE:
        if (size < 2 || raw[0] != '/')
            return size;
        if (!is_clean(raw, size))
            python(NULL);
        return 1;
    case DESTINATION:
        if (scan->destination_count >= HOLES || raw[0] != '/' || memchr(raw, '\\', size))
            python(NULL);
        scan->destinations[scan->destination_count] = raw;
        scan->destination_sizes[scan->destination_count++] = size;
        return size;
    case NAMESPACE:
        return is_clean(raw, size) ? 1 : size;
    case CGROUP:
        if (!is_clean(raw, size))
            return size;
        for (from = size; raw[from - 1] != '/'; from--)
            if (!isalnum((unsigned char)raw[from - 1]) && !strchr("_.-", raw[from - 1]))
                return size;
        return from;
    default:
        return size;
    }
}

static void
scan_string(struct scan *scan, int index)
{
    size_t size;
    const char *raw = next_string(scan, &size);
    const enum kind kind = kind_of(scan);
    const size_t from = kind == LITERAL ? size : varies_from(scan, kind, raw, size, index);
    const char *value = from < size ? decode(raw + from, size - from) : NULL;
    if (value == NULL)
        return;
    if (hole_count >= HOLES)
        python(NULL);
    if (kind == ROOT)
        scan->root_hole = 1;
    if (kind == SOURCE)
        scan->source_holes[scan->source_count++] = hole_count;
    add_hole(raw + from, size - from, value);
    append(&shape, scan->copied, (size_t)(raw + from - scan->copied));
    append(&shape, "\1", 1);
    scan->copied = raw + size;
}

static void
scan_value(struct scan *scan, size_t path_size, int index, int depth)
{
    if (depth > DEPTH)
        python(NULL);
    if (is_next(scan, '{')) {
        scan->at++;
        for (int first = 1; !is_next(scan, '}'); first = 0) {
            if (!first)
                expect(scan, ',');
            size_t size, dot = path_size > 0;
            skip_blanks(scan);
            const char *key = next_string(scan, &size);
            if (memchr(key, '\\', size) || path_size + dot + size + 3 > sizeof scan->path)
                python(NULL);
            scan->path[path_size] = '.';
            memcpy(scan->path + path_size + dot, key, size);
            scan->path[path_size + dot + size] = 0;
            for (size_t i = 0; i < size; i++)
                if ((key[i] & 0x80) != 0 && kind_of(scan) != WHOLE) /* Python takes some for a letter of ours */
                    python(NULL);
            expect(scan, ':');
            scan_value(scan, path_size + dot + size, 0, depth + 1);
        }
        scan->at++;
    } else if (is_next(scan, '[')) {
        scan->at++;
        if (path_size + 3 > sizeof scan->path)
            python(NULL);
        for (int i = 0; !is_next(scan, ']'); i++) {
            if (i > 0)
                expect(scan, ',');
            strcpy(scan->path + path_size, "[]");
            scan_value(scan, path_size + 2, i, depth + 1);
        }
        scan->at++;
    } else if (is_next(scan, '"')) {
        scan_string(scan, index);
    } else {
        const char *start = scan->at;
        while (scan->at < scan->end && (isalnum((unsigned char)*scan->at) || strchr("+-.", *scan->at)) && *scan->at)
            scan->at++;
        if (scan->at == start)
            python(NULL);
    }
}

/* Whether *path* lies below the folder *root*. */
static int
is_below(const char *path, size_t size, const char *root, size_t root_size)
{
    return size > root_size && path[root_size] == '/' && memcmp(path, root, root_size) == 0;
}

/* Everything from here to the end of *text* into the shape. *scan* then knows of the places that have to do with each other. */
static void
scan_json(struct scan *scan, const struct place *places, const struct text *text)
{
    scan->places = places;
    scan->at = scan->copied = text->data;
    scan->end = text->data + text->size;
    if (text->broken)
        python(NULL);
    scan_value(scan, 0, 0, 0);
    skip_blanks(scan);
    if (scan->at != scan->end)
        python(NULL);
    append(&shape, scan->copied, (size_t)(scan->end - scan->copied));
}

/* The shape of config.json; *root*, of the size PATH_MAX, becomes the path of the container's root. What lies below that is planned
 * in another way (container.py, _below_root; bundle.py, _absolute). */
static void
scan_config(const struct text *text, const char *bundle, char *root)
{
    static struct scan scan;
    scan_json(&scan, of_config, text);
    const int relative = scan.root == NULL || scan.root[0] != '/';
    int size = snprintf(root, PATH_MAX, "%s%s%.*s", relative ? bundle : "", relative ? "/" : "", (int)scan.root_size,
                        scan.root == NULL ? "" : scan.root);
    if (size >= PATH_MAX || !is_clean(root, (size_t)size) || scan.root_hole == relative)
        python(NULL);
    for (int i = 0; i < scan.destination_count; i++)
        if (is_below(scan.destinations[i], scan.destination_sizes[i], root, (size_t)size))
            python(NULL);
    for (int i = 0; i < scan.source_count; i++) {
        const struct hole *source = &holes[scan.source_holes[i]];
        if (is_below(source->raw - 1, source->raw_size + 1, root, (size_t)size))
            python(NULL);
    }
}

/* ---- words --------------------------------------------------------------------------------------------------------------- */

/* A word of the command line, and that it ends. */
static void
scan_word(const char *word, enum kind kind, int index)
{
    static struct scan none;
    const size_t size = strlen(word);
    size_t from = size;
    if (kind != LITERAL && !strchr(word, '\\'))
        from = varies_from(&none, kind, word, size, index);
    else if (kind == ARGUMENT && index > 0)
        from = 0;
    append(&shape, word, from);
    if (memchr(word, 1, from))
        python(NULL);
    if (from < size) {
        add_hole(word + from, size - from, word + from);
        append(&shape, "\1", 1);
    }
    append(&shape, "", 1);
}
