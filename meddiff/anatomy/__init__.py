"""Where organs and body regions lie: labels, TotalSegmentator, and the split into regions."""
