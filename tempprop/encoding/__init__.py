"""What `tempprop.encode` is made of: profiles, ffmpeg's command and process, and the proof."""
