"""The papers' tables and figures by name, each a study of searches."""
