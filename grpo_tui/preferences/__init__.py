"""What a person likes, whatever the run: colours, keys, folders, layout. One TOML file in the XDG place."""
