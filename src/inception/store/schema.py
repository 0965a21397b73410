"""The store's tables. Steps are only ever appended: each has been run on somebody's machine.

A layer is one unpacked folder, `ROOT/layers/<id>`; the small number keeps a stack of 128 of them within the one page that
mount(2) takes for its options. Most layers depend on nothing but their own tar stream, so images of different stacks share
them by diff_id; one that had to take folder modes from the layers beneath (`chain_id` not empty) is shared by chain only.
A layer that came from outside keeps its blob as it came; `packed` marks one that was made here: its tar is made again from
the folder whenever it is asked for, byte by byte the same (pack.py).
"""

from __future__ import annotations

STEPS = (
    """CREATE TABLE layers (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        diff_id TEXT NOT NULL,
        chain_id TEXT NOT NULL DEFAULT '',
        size_bytes INTEGER NOT NULL,
        tar_bytes INTEGER NOT NULL,
        root_mode INTEGER,
        root_uid INTEGER NOT NULL DEFAULT 0,
        root_gid INTEGER NOT NULL DEFAULT 0,
        packed INTEGER NOT NULL DEFAULT 0,
        UNIQUE (diff_id, chain_id)
    ) STRICT""",
    """CREATE TABLE images (
        id TEXT PRIMARY KEY,
        manifest_digest TEXT NOT NULL,
        created TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        parent TEXT NOT NULL DEFAULT ''
    ) STRICT""",
    """CREATE TABLE image_layers (
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        layer_id INTEGER NOT NULL REFERENCES layers (id),
        PRIMARY KEY (image_id, position)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX image_layers_by_layer ON image_layers (layer_id)",
    """CREATE TABLE image_names (
        repository TEXT NOT NULL,
        tag TEXT NOT NULL,
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        PRIMARY KEY (repository, tag)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX image_names_by_image ON image_names (image_id)",
    """CREATE TABLE image_digests (
        repository TEXT NOT NULL,
        digest TEXT NOT NULL,
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        PRIMARY KEY (repository, digest)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX image_digests_by_image ON image_digests (image_id)",
    """CREATE TABLE image_blobs (
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        digest TEXT NOT NULL,
        PRIMARY KEY (image_id, digest)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX image_blobs_by_digest ON image_blobs (digest)",
    """CREATE TABLE snapshots (
        id TEXT PRIMARY KEY,
        image_id TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE snapshot_layers (
        snapshot_id TEXT NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        layer_id INTEGER NOT NULL REFERENCES layers (id),
        PRIMARY KEY (snapshot_id, position)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX snapshot_layers_by_layer ON snapshot_layers (layer_id)",
    # Layers that are kept though no image has them: the build cache names itself as the holder.
    """CREATE TABLE layer_holds (
        holder TEXT NOT NULL,
        layer_id INTEGER NOT NULL REFERENCES layers (id),
        PRIMARY KEY (holder, layer_id)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX layer_holds_by_layer ON layer_holds (layer_id)",
    # Compressed forms of a layer that are in the content store: as they came with an image, or `made` here to be pushed.
    """CREATE TABLE layer_blobs (
        layer_id INTEGER NOT NULL REFERENCES layers (id) ON DELETE CASCADE,
        digest TEXT NOT NULL,
        media_type TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        made INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (layer_id, digest)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX layer_blobs_by_digest ON layer_blobs (digest)",
    # Repositories that are known to have a blob: whoever pushes it to the same registry can mount it from there.
    """CREATE TABLE blob_places (
        digest TEXT NOT NULL,
        repository TEXT NOT NULL,
        PRIMARY KEY (digest, repository)
    ) STRICT, WITHOUT ROWID""",
    # Images of several platforms under one name (indexes.py).
    "CREATE TABLE indexes (digest TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
    """CREATE TABLE index_names (
        repository TEXT NOT NULL,
        tag TEXT NOT NULL,
        digest TEXT NOT NULL REFERENCES indexes (digest) ON DELETE CASCADE,
        PRIMARY KEY (repository, tag)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX index_names_by_digest ON index_names (digest)",
    """CREATE TABLE index_images (
        digest TEXT NOT NULL REFERENCES indexes (digest) ON DELETE CASCADE,
        manifest_digest TEXT NOT NULL,
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        PRIMARY KEY (digest, manifest_digest)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX index_images_by_image ON index_images (image_id)",
    """CREATE TABLE index_blobs (
        digest TEXT NOT NULL REFERENCES indexes (digest) ON DELETE CASCADE,
        blob TEXT NOT NULL,
        PRIMARY KEY (digest, blob)
    ) STRICT, WITHOUT ROWID""",
    # When an image got its name.
    "ALTER TABLE image_names ADD COLUMN named_at TEXT NOT NULL DEFAULT ''",
    # What `inception images` shows, when all images have names: no row, or the one for the tables as they are, since
    # whatever changes them takes it away (cli/brief.py).
    "CREATE TABLE listing (lines TEXT NOT NULL) STRICT",
    *(
        f"CREATE TRIGGER listing_{table}_{event} AFTER {event} ON {table} BEGIN DELETE FROM listing; END"
        for table in ("images", "image_names")
        for event in ("INSERT", "UPDATE", "DELETE")
    ),
)
